import { Type } from 'typebox'
import { problems, type Refusal } from '../http/schemas.ts'

const ErrorV2 = Type.Object(
  { error: Type.String({ description: 'A stable code, a colon, and what is wrong in words.' }) },
  { title: 'ErrorV2', description: 'What went wrong; may have further members.', additionalProperties: true },
)

interface ErrorResponse {
  readonly description: string
  readonly content: { readonly 'application/json': { readonly schema: typeof ErrorV2 } }
}

/** Like `problems`, in the shape that the Open Inference Protocol has for errors. */
export function errors<S extends Refusal>(...statuses: readonly S[]): Record<S, ErrorResponse> {
  const described: Readonly<Record<number, { readonly description: string }>> = problems(...statuses)
  const responses = statuses.map((status) => [
    status,
    { description: described[status]?.description, content: { 'application/json': { schema: ErrorV2 } } },
  ])
  return Object.fromEntries(responses) as Record<S, ErrorResponse>
}
