type Json = Readonly<Record<string, unknown>>

/** Schemas with a `title` become `components.schemas` of that name, referred to wherever they are used. Throws when two differ. */
export function namedComponents<T extends object>(document: T): T {
  const schemas: Record<string, unknown> = {}

  function walk(value: unknown): unknown {
    if (Array.isArray(value)) return value.map(walk)
    if (typeof value !== 'object' || value === null) return value
    const walked = Object.fromEntries(Object.entries(value).map(([key, member]) => [key, walk(member)]))
    const { title } = walked
    if (typeof title !== 'string' || !isSchema(walked)) return walked
    const known = schemas[title]
    if (known !== undefined && JSON.stringify(known) !== JSON.stringify(walked)) {
      throw new Error(`two schemas are named ${title} and differ`)
    }
    schemas[title] = walked
    return { $ref: `#/components/schemas/${title}` }
  }

  const { paths, components, ...rest } = document as Json
  return { ...rest, paths: walk(paths), components: { ...(components as Json), schemas } } as T
}

function isSchema(value: Json): boolean {
  return 'type' in value || 'anyOf' in value
}
