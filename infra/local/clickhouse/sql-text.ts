import { EndpointError } from './errors.ts'

// What the endpoint has to know about a statement without being a parser. Everything here works on a masked copy of the
// text, equally long, in which comments are blanks and strings, quoted names and heredocs are dots: what looks like a
// keyword there is one.
const OPAQUE =
  /--[^\n]*|#[ !][^\n]*|\/\*[\s\S]*?\*\/|\$(\w*)\$[\s\S]*?\$\1\$|'(?:[^'\\]|\\[\s\S]|'')*'|"(?:[^"\\]|\\[\s\S]|"")*"|`(?:[^`\\]|\\[\s\S]|``)*`/g

const mask = (sql: string): string =>
  sql.replace(OPAQUE, (found) => (/^(?:--|#|\/\*)/.test(found) ? ' ' : '.').repeat(found.length))

/** A string literal. */
export const literal = (value: string): string => `'${value.replace(/\\/g, '\\\\').replace(/'/g, "\\'")}'`

/** A quoted name. */
export const identifier = (name: string): string => `\`${name.replace(/\\/g, '\\\\').replace(/`/g, '\\`')}\``

export type StatementKind = 'insert' | 'select' | 'show' | 'other'

export function statementKind(sql: string): StatementKind {
  const text = mask(sql).trimStart()
  if (/^INSERT\b/i.test(text)) return 'insert'
  if (/^(?:SELECT\b|WITH\b|\()/i.test(text)) return 'select'
  return /^(?:SHOW|DESCRIBE|DESC|EXPLAIN|EXISTS)\b/i.test(text) ? 'show' : 'other'
}

export const hasSubquery = (sql: string): boolean => (mask(sql).match(/\bSELECT\b/gi)?.length ?? 0) > 1

/** The format a statement asks for itself. */
export const outputFormat = (sql: string): string | undefined =>
  /\bFORMAT\s+(\w+)\s*(?:SETTINGS[\s\S]*)?;?\s*$/i.exec(mask(sql))?.[1]

/** A copy without its output format, so that it can become a subquery. */
export function withoutFormat(sql: string): string {
  const found = /\bFORMAT\s+\w+\s*;?\s*$/i.exec(mask(sql))
  return found ? sql.slice(0, found.index) : sql
}

/** `INSERT … FORMAT X` or `INSERT … VALUES` with nothing behind it: its rows come in the request's body. */
export function awaitsData(sql: string): boolean {
  const text = mask(sql)
  return /^\s*INSERT\b[\s\S]*\b(?:FORMAT\s+\w+|VALUES)\s*;?\s*$/i.test(text) && !/\bSELECT\b/i.test(text)
}

const INSERT_HEAD = /^\s*INSERT\b[\s\S]*?\b(?:FORMAT\s+\w+[ \t]*;?\r?\n?|VALUES)/i

/**
 * Splits a body `INSERT … FORMAT X <data>` (or `VALUES <data>`); undefined where it is any other statement. `text` holds one
 * character per byte (latin1), so that the head's length is a length in bytes whatever follows.
 */
export function insertHead(text: string): string | undefined {
  const head = INSERT_HEAD.exec(mask(text))?.[0]
  return head === undefined || /\bSELECT\b/i.test(head) ? undefined : text.slice(0, head.length)
}

/** The same insert, reading its rows from `file`: data never stands in the SQL, where an empty line would end it. */
export function insertFromFile(sql: string, file: string, compression: string): string {
  const blank = (found: string): string => '.'.repeat(found.length)
  const text = mask(sql).replace(/\([^()]*\)/g, blank)
  const format = /\bFORMAT\s+(\w+)\s*$|\bVALUES\s*$/i.exec(text)
  const tail = /\bSETTINGS\b|\bFORMAT\s+\w+\s*$|\bVALUES\s*$/i.exec(text)
  if (!format || !tail)
    throw new EndpointError(
      62,
      'SYNTAX_ERROR',
      'Syntax error: expected INSERT INTO t [(columns)] [SETTINGS …] FORMAT X',
    )
  const settings = sql.slice(tail.index, format.index)
  return `${sql.slice(0, tail.index)} FROM INFILE ${literal(file)} COMPRESSION '${compression}' ${settings} FORMAT ${format[1] ?? 'Values'}`
}

/** The engine is a library in this process: these clauses would read and write files of this machine. */
export function refuseUnsupported(sql: string): void {
  const text = mask(sql)
  if (/;[\s;]*[^\s;]/.test(text))
    throw new EndpointError(62, 'SYNTAX_ERROR', 'Syntax error (Multi-statements are not allowed)')
  if (/\bINTO\s+OUTFILE\b|\bFROM\s+INFILE\b/i.test(text)) {
    throw new EndpointError(
      1,
      'UNSUPPORTED_METHOD',
      'INTO OUTFILE and FROM INFILE are clauses of the command line client',
    )
  }
}

/** The engine names its queries itself and the id a client chose is in `log_comment`; KILL QUERY goes by the client's. */
export function killByClientId(sql: string): string {
  const text = mask(sql)
  if (!/^\s*KILL\s+QUERY\b/i.test(text)) return sql
  const parts: string[] = []
  let from = 0
  for (const found of text.matchAll(/\b(?:initial_)?query_id\b/gi)) {
    parts.push(sql.slice(from, found.index), "Settings['log_comment']")
    from = found.index + found[0].length
  }
  return parts.join('') + sql.slice(from)
}

/** What a KILL QUERY kills; null for any other statement, and for one that only tests. */
export function killPredicate(sql: string): string | null {
  const text = mask(sql)
  const head = /^\s*KILL\s+QUERY\b[\s\S]*?\bWHERE\b/i.exec(text)
  if (head === null) return null
  const tail = /\b(SYNC|ASYNC|TEST)\b\s*(?:FORMAT\s+\w+\s*)?$|\bFORMAT\s+\w+\s*$/i.exec(text)
  return tail?.[1]?.toUpperCase() === 'TEST' ? null : sql.slice(head[0].length, tail?.index)
}
