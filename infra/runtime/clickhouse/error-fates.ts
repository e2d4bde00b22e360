/**
 * What an answer of ClickHouse means for the request, by the server's own error code (src/Common/ErrorCodes.cpp):
 *
 *   retry    not reached, too busy or not ready: the same request may succeed later; what it did is unknown
 *   reject   a value does not fit its column: at least one row of the insert is refused, and none was stored
 *   split    the insert as a whole is too large for this server, and none was stored: smaller ones may fit
 *   stop     wrong name, rights, schema or statement: somebody must mend it. So does every code that is not listed
 */
export type AnswerFate = 'retry' | 'reject' | 'split' | 'stop'

const CODES: Readonly<Record<AnswerFate, Readonly<Record<number, string>>>> = {
  retry: {
    3: 'UNEXPECTED_END_OF_FILE',
    32: 'ATTEMPT_TO_READ_AFTER_EOF',
    74: 'CANNOT_READ_FROM_FILE_DESCRIPTOR',
    75: 'CANNOT_WRITE_TO_FILE_DESCRIPTOR',
    95: 'CANNOT_READ_FROM_SOCKET',
    96: 'CANNOT_WRITE_TO_SOCKET',
    159: 'TIMEOUT_EXCEEDED',
    173: 'CANNOT_ALLOCATE_MEMORY',
    198: 'DNS_ERROR',
    201: 'QUOTA_EXCEEDED',
    202: 'TOO_MANY_SIMULTANEOUS_QUERIES',
    203: 'NO_FREE_CONNECTION',
    209: 'SOCKET_TIMEOUT',
    210: 'NETWORK_ERROR',
    216: 'QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING',
    225: 'NO_ZOOKEEPER',
    236: 'ABORTED',
    241: 'MEMORY_LIMIT_EXCEEDED',
    242: 'TABLE_IS_READ_ONLY',
    243: 'NOT_ENOUGH_SPACE',
    252: 'TOO_MANY_PARTS',
    254: 'NO_ACTIVE_REPLICAS',
    279: 'ALL_CONNECTION_TRIES_FAILED',
    285: 'TOO_FEW_LIVE_REPLICAS',
    286: 'UNSATISFIED_QUORUM_FOR_PREVIOUS_WRITE',
    319: 'UNKNOWN_STATUS_OF_INSERT',
    364: 'RECEIVED_ERROR_TOO_MANY_REQUESTS',
    394: 'QUERY_WAS_CANCELLED',
    425: 'SYSTEM_ERROR',
    439: 'CANNOT_SCHEDULE_TASK',
    574: 'DISTRIBUTED_TOO_MANY_PENDING_BYTES',
    677: 'THREAD_WAS_CANCELED',
    692: 'TOO_MANY_MUTATIONS',
    735: 'QUERY_WAS_CANCELLED_BY_CLIENT',
    745: 'SERVER_OVERLOADED',
    749: 'TCP_CONNECTION_LIMIT_REACHED',
    762: 'HTTP_CONNECTION_LIMIT_REACHED',
    777: 'MEMORY_RESERVATION_KILLED',
    778: 'MEMORY_RESERVATION_FAILED',
    999: 'KEEPER_EXCEPTION',
    1000: 'POCO_EXCEPTION',
  },
  reject: {
    6: 'CANNOT_PARSE_TEXT',
    25: 'CANNOT_PARSE_ESCAPE_SEQUENCE',
    26: 'CANNOT_PARSE_QUOTED_STRING',
    27: 'CANNOT_PARSE_INPUT_ASSERTION_FAILED',
    33: 'CANNOT_READ_ALL_DATA',
    38: 'CANNOT_PARSE_DATE',
    41: 'CANNOT_PARSE_DATETIME',
    53: 'TYPE_MISMATCH',
    69: 'ARGUMENT_OUT_OF_BOUND',
    70: 'CANNOT_CONVERT_TYPE',
    72: 'CANNOT_PARSE_NUMBER',
    117: 'INCORRECT_DATA',
    128: 'TOO_LARGE_ARRAY_SIZE',
    130: 'CANNOT_READ_ARRAY_FROM_TEXT',
    131: 'TOO_LARGE_STRING_SIZE',
    321: 'VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE',
    349: 'CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN',
    376: 'CANNOT_PARSE_UUID',
    407: 'DECIMAL_OVERFLOW',
    467: 'CANNOT_PARSE_BOOL',
    632: 'UNEXPECTED_DATA_AFTER_PARSED_VALUE',
    691: 'UNKNOWN_ELEMENT_OF_ENUM',
  },
  split: {
    158: 'TOO_MANY_ROWS',
    307: 'TOO_MANY_BYTES',
    396: 'TOO_MANY_ROWS_OR_BYTES',
  },
  stop: {
    16: 'NO_SUCH_COLUMN_IN_TABLE',
    46: 'UNKNOWN_FUNCTION',
    47: 'UNKNOWN_IDENTIFIER',
    60: 'UNKNOWN_TABLE',
    62: 'SYNTAX_ERROR',
    73: 'UNKNOWN_FORMAT',
    81: 'UNKNOWN_DATABASE',
    115: 'UNKNOWN_SETTING',
    164: 'READONLY',
    192: 'UNKNOWN_USER',
    193: 'WRONG_PASSWORD',
    194: 'REQUIRED_PASSWORD',
    291: 'DATABASE_ACCESS_DENIED',
    472: 'READONLY_SETTING',
    492: 'ACCESS_ENTITY_NOT_FOUND',
    495: 'ACCESS_STORAGE_READONLY',
    497: 'ACCESS_DENIED',
    511: 'UNKNOWN_ROLE',
    516: 'AUTHENTICATION_FAILED',
    720: 'USER_EXPIRED',
  },
}

export const UNKNOWN_TABLE = 60
export const UNKNOWN_DATABASE = 81

const FATES = new Map(
  Object.entries(CODES).flatMap(([fate, codes]) =>
    Object.keys(codes).map((code) => [Number(code), fate as AnswerFate] as const),
  ),
)

/** Null = a code that is not in the table. */
export function answerFate(code: number): AnswerFate | null {
  return FATES.get(code) ?? null
}
