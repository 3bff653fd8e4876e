import ODBC
