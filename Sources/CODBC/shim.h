// ODBC's C API as unixODBC declares it, and what Swift cannot read of it: computed macros, attributes
// that are integers passed as pointers, and SQL Server's type codes, which no public header holds.
#ifndef CODBC_SHIM_H
#define CODBC_SHIM_H

#include <sql.h>
#include <sqlext.h>
#include <sqlucode.h>

#ifdef __linux__
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

_Static_assert(sizeof(SQLWCHAR) == 2, "unixODBC must be built with 16-bit SQLWCHAR, its default");
_Static_assert(sizeof(SQLLEN) == 8, "ODBC's lengths must be 64 bits wide");

enum {
    CODBC_C_CHAR = SQL_C_CHAR,
    CODBC_C_WCHAR = SQL_C_WCHAR,
    CODBC_C_BINARY = SQL_C_BINARY,
    CODBC_C_BIT = SQL_C_BIT,
    CODBC_C_UTINYINT = SQL_C_UTINYINT,
    CODBC_C_SSHORT = SQL_C_SSHORT,
    CODBC_C_SLONG = SQL_C_SLONG,
    CODBC_C_SBIGINT = SQL_C_SBIGINT,
    CODBC_C_FLOAT = SQL_C_FLOAT,
    CODBC_C_DOUBLE = SQL_C_DOUBLE,
    CODBC_C_NUMERIC = SQL_C_NUMERIC,
    CODBC_C_TYPE_DATE = SQL_C_TYPE_DATE,
    CODBC_C_TYPE_TIMESTAMP = SQL_C_TYPE_TIMESTAMP,
    CODBC_C_GUID = SQL_C_GUID,

    // "SQL Server Native Client", sqlncli.h; the same in msodbcsql.h and FreeTDS' odbcss.h:
    // https://learn.microsoft.com/sql/relational-databases/native-client-odbc-date-time/data-type-support-for-odbc-date-and-time-improvements
    CODBC_SS_VARIANT = -150,
    CODBC_SS_UDT = -151,
    CODBC_SS_XML = -152,
    CODBC_SS_TIME2 = -154,
    CODBC_SS_TIMESTAMPOFFSET = -155,
};

typedef struct {
    SQLUSMALLINT hour;
    SQLUSMALLINT minute;
    SQLUSMALLINT second;
    SQLUINTEGER fraction;
} codbc_time2;

typedef struct {
    SQLSMALLINT year;
    SQLUSMALLINT month;
    SQLUSMALLINT day;
    SQLUSMALLINT hour;
    SQLUSMALLINT minute;
    SQLUSMALLINT second;
    SQLUINTEGER fraction;
    SQLSMALLINT timezone_hour;
    SQLSMALLINT timezone_minute;
} codbc_timestampoffset;

static inline SQLRETURN codbc_set_env_attr(SQLHENV handle, SQLINTEGER attribute, SQLULEN value) {
    return SQLSetEnvAttr(handle, attribute, (SQLPOINTER)value, SQL_IS_INTEGER);
}

static inline SQLRETURN codbc_set_connect_attr(SQLHDBC handle, SQLINTEGER attribute, SQLULEN value) {
    return SQLSetConnectAttr(handle, attribute, (SQLPOINTER)value, SQL_IS_UINTEGER);
}

static inline SQLRETURN codbc_set_stmt_attr(SQLHSTMT handle, SQLINTEGER attribute, SQLULEN value) {
    return SQLSetStmtAttr(handle, attribute, (SQLPOINTER)value, SQL_IS_UINTEGER);
}

static inline SQLRETURN codbc_set_stmt_pointer(SQLHSTMT handle, SQLINTEGER attribute, void *value) {
    return SQLSetStmtAttr(handle, attribute, value, SQL_IS_POINTER);
}

static inline SQLRETURN codbc_set_desc_field(
    SQLHDESC handle, SQLSMALLINT record, SQLSMALLINT field, SQLLEN value) {
    return SQLSetDescField(handle, record, field, (SQLPOINTER)value, SQL_IS_INTEGER);
}

static inline SQLRETURN codbc_set_desc_pointer(SQLHDESC handle, SQLSMALLINT record, void *value) {
    return SQLSetDescField(handle, record, SQL_DESC_DATA_PTR, value, SQL_IS_POINTER);
}

// The length a driver is told for a value of `length` bytes that it will ask for while executing.
static inline SQLLEN codbc_len_data_at_exec(SQLLEN length) {
    return SQL_LEN_DATA_AT_EXEC(length);
}

// The calling thread, for codbc_end_wait; 0 where that does nothing.
static inline long codbc_thread(void) {
#ifdef __linux__
    return syscall(SYS_gettid);
#else
    return 0;
#endif
}

#ifdef __linux__
// Shuts a descriptor down when it is a network connection.
static inline int codbc_shut_down(int descriptor) {
    int family = 0;
    socklen_t size = sizeof family;
    if (getsockopt(descriptor, SOL_SOCKET, SO_DOMAIN, &family, &size) != 0) return 0;
    return (family == AF_INET || family == AF_INET6) && shutdown(descriptor, SHUT_RDWR) == 0;
}
#endif

// Ends the network connections that a thread of this process waits for in a system call, and returns how many.
//
// ODBC tells nobody a connection's socket. Linux tells what call a thread is in, with its arguments:
// https://man7.org/linux/man-pages/man5/proc_pid_syscall.5.html
static inline int codbc_end_wait(long thread) {
    int ended = 0;
#ifdef __linux__
    char path[64];
    snprintf(path, sizeof path, "/proc/self/task/%ld/syscall", thread);
    FILE *file = fopen(path, "r");
    if (!file) return 0;
    long call = -1;
    unsigned long first = 0, second = 0;
    int fields = fscanf(file, "%ld %lx %lx", &call, &first, &second);
    fclose(file);
    // "running" is no number.
    if (fields != 3) return 0;
    switch (call) {
#ifdef SYS_poll
    case SYS_poll:
#endif
    case SYS_ppoll:
        for (unsigned long index = 0; index < second && index < 16; index++)
            ended += codbc_shut_down(((struct pollfd *)first)[index].fd);
        break;
    case SYS_recvfrom:
    case SYS_recvmsg:
    case SYS_read:
    case SYS_sendto:
    case SYS_sendmsg:
    case SYS_write:
        ended += codbc_shut_down((int)first);
        break;
    }
#else
    (void)thread;
#endif
    return ended;
}

#endif
