/** version-traceid-parentid-flags of W3C Trace Context, level 1. Later versions may have more behind it. */
const TRACEPARENT = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-.*)?$/
const LONGEST = 512

/**
 * The trace context of a request, to be carried with its events to their predictions as it came. Null when there is none, and when
 * it is none that the specification allows: then a trace begins elsewhere or not at all, and the gateway makes none up.
 */
export function traceparentOf(
  headers: Readonly<Record<string, string | readonly string[] | undefined>>,
): string | null {
  const { traceparent } = headers
  if (typeof traceparent !== 'string' || traceparent.length > LONGEST) return null
  const [, version, trace = '', parent = '', more] = TRACEPARENT.exec(traceparent) ?? []
  if (version === undefined || version === 'ff') return null
  if (version === '00' && more !== undefined) return null
  return isZero(trace) || isZero(parent) ? null : traceparent
}

function isZero(hex: string): boolean {
  return /^0+$/.test(hex)
}
