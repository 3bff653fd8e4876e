// mallopt, which Swift's module of the C library leaves out. Elsewhere than on glibc there is nothing to set.
#ifdef __linux__
#include <malloc.h>
#endif
