import { type Static, type TSchema, Type } from 'typebox'

/**
 * The bodies of the HTTP interface. They document (the OpenAPI document is made from them) and check what comes in; what goes
 * out is written as it is: `documents()` makes replies plain JSON.stringify, so a member that no schema names is never dropped.
 * A `title` makes a schema a named component of the document.
 */

declare module 'fastify' {
  interface FastifyContextConfig {
    /** The request body in the document, for routes that read it as bytes: schemas by content type. It checks nothing. */
    readonly documentedBody?: {
      readonly description: string
      readonly content: Readonly<Record<string, { readonly schema: object }>>
    }
  }
}

function nullable<T extends TSchema>(schema: T, description: string) {
  return Type.Union([schema, Type.Null()], { description })
}

const RequestIdText = Type.String({
  description: 'Names the event for good: pipeline, day it came in (UTC), partition, offset.',
  examples: ['flights.20130315.3.18211'],
})

export const ItemProblem = Type.Object(
  {
    index: Type.Optional(Type.Integer({ minimum: 0, description: 'Which of the events of the body, from 0.' })),
    code: Type.String({ description: 'Stable, for programs.', examples: ['missing_field', 'wrong_type'] }),
    pointer: Type.String({
      description: 'Where in the event, as a JSON Pointer (RFC 6901); empty = the event itself.',
    }),
    detail: Type.String({ description: 'What is wrong, in words.' }),
  },
  { title: 'ItemProblem', description: 'What is wrong with one event or label.' },
)

const Problem = Type.Object(
  {
    type: Type.String({ description: 'A URI of the kind of problem, from its code.' }),
    title: Type.String(),
    status: Type.Integer({ minimum: 400, maximum: 599 }),
    detail: Type.String({ description: 'What is wrong, in words.' }),
    instance: Type.String({ description: 'The path that was asked for.' }),
    code: Type.String({ description: 'Stable, for programs.', examples: ['rate_limited'] }),
    errors: Type.Optional(Type.Array(ItemProblem, { description: 'Where it is about the body: what is wrong where.' })),
  },
  {
    title: 'Problem',
    description: 'What went wrong (RFC 9457). May have further members.',
    additionalProperties: true,
  },
)

const accepted = {
  request_id: nullable(
    RequestIdText,
    "What the prediction is asked for by. Null where the topic does not keep append times (somebody else's topic).",
  ),
  event_id: Type.String({ description: "The event's own id." }),
  repeated: Type.Boolean({
    description: 'True: an earlier request with the same Idempotency-Key had brought it in; this one changed nothing.',
  }),
}

export const AcceptedOne = Type.Object(accepted, {
  title: 'Accepted',
  description: 'The event is in Kafka, acknowledged by all in-sync replicas.',
})

const AcceptedItem = Type.Object(
  { index: Type.Integer({ minimum: 0 }), status: Type.Literal('accepted'), ...accepted },
  { title: 'AcceptedItem' },
)

const RefusedItem = Type.Object(
  { index: Type.Integer({ minimum: 0 }), status: Type.Literal('refused'), problem: ItemProblem },
  { title: 'RefusedItem', description: 'It is not in Kafka, and never will be as it is. The others are not affected.' },
)

export const AcceptedMany = Type.Object(
  {
    accepted: Type.Integer({ minimum: 0, description: 'How many are in Kafka.' }),
    refused: Type.Integer({ minimum: 0, description: 'How many are not.' }),
    results: Type.Array(Type.Union([AcceptedItem, RefusedItem]), { description: 'One per event, in their order.' }),
  },
  { title: 'AcceptedMany', description: 'What became of each event of the body.' },
)

const acceptedLabel = {
  event_id: Type.String({ description: 'The event that the label is the truth of.' }),
  repeated: Type.Boolean({
    description: 'True: an earlier request with the same Idempotency-Key had brought it in; this one changed nothing.',
  }),
}

export const LabelAccepted = Type.Object(acceptedLabel, {
  title: 'LabelAccepted',
  description: 'The label is in Kafka, acknowledged by all in-sync replicas.',
})

export const LabelsAccepted = Type.Object(
  {
    accepted: Type.Integer({ minimum: 0, description: 'How many are in Kafka.' }),
    refused: Type.Integer({ minimum: 0, description: 'How many are not.' }),
    results: Type.Array(
      Type.Union([
        Type.Object(
          { index: Type.Integer({ minimum: 0 }), status: Type.Literal('accepted'), ...acceptedLabel },
          { title: 'AcceptedLabelItem' },
        ),
        RefusedItem,
      ]),
      { description: 'One per label, in their order.' },
    ),
  },
  { title: 'LabelsAccepted', description: 'What became of each label of the body.' },
)

const TIME = { description: 'ISO 8601, UTC.', examples: ['2013-03-15T05:15:00.000Z'] }

export const Prediction = Type.Object(
  {
    request_id: RequestIdText,
    event_id: Type.String(),
    event_time: Type.String(TIME),
    model: Type.String(),
    model_version: Type.String(),
    model_digest: Type.String({ description: "SHA-256 of the model's file." }),
    role: Type.Enum(['primary', 'canary'], { description: 'Whether a canary version made it.' }),
    score: nullable(Type.Number(), 'Null: the model gave no finite number.'),
    outputs: Type.Unsafe<readonly (number | null)[]>(
      Type.Array(Type.Union([Type.Number(), Type.Null()]), { description: "All of the model's outputs." }),
    ),
    label: nullable(Type.String(), "The class, where the model's outputs are classes."),
    degraded: Type.Boolean({ description: 'A lookup was missing or too old when the features were computed.' }),
    answer: Type.Enum(['scored', 'late', 'fallback'], {
      description: 'late: scored after its deadline. fallback: the answer that stands in for the model.',
    }),
    provider: Type.Enum(['cpu', 'cuda'], { description: 'Where the model ran.' }),
    scored_at: Type.String(TIME),
  },
  { title: 'Prediction' },
)

const Predicted = Type.Object(
  { state: Type.Literal('predicted'), prediction: Prediction },
  { title: 'Predicted', description: 'The event has its prediction.' },
)

const Rejected = Type.Object(
  {
    state: Type.Literal('rejected'),
    reason: Type.String({ description: 'Stable, for programs.', examples: ['distance_out_of_range'] }),
    message: Type.String(),
  },
  { title: 'Rejected', description: 'The event ended as a dead letter: it will never have a prediction.' },
)

export const Pending = Type.Object(
  {
    state: Type.Literal('pending'),
    request_id: RequestIdText,
    event_id: Type.Optional(Type.String()),
  },
  { title: 'Pending', description: 'The event is in Kafka and has not ended yet: ask again.' },
)

/** How an event ended, as `GET /v1/predictions/{request_id}` tells it with 200. */
export const Ended = Type.Union([Predicted, Rejected], { title: 'Ended', description: 'How the event ended.' })

export const PipelineInfo = Type.Object(
  {
    name: Type.String(),
    event: Type.Object(
      {
        id: Type.String({ description: 'The field that is the event id.' }),
        key: nullable(Type.String(), 'The field whose events keep their order; null = none.'),
        time: Type.String({ description: 'The field that is the time of the event.' }),
        schema: Type.Object({}, { additionalProperties: true, description: 'Avro, as JSON.' }),
      },
      { description: 'What events look like.' },
    ),
    label: Type.Union(
      [
        Type.Object({
          id: Type.String({ description: 'The field that holds the event id.' }),
          schema: Type.Object({}, { additionalProperties: true, description: 'Avro, as JSON.' }),
        }),
        Type.Null(),
      ],
      { description: 'What labels look like; null = the pipeline takes none.' },
    ),
    model: Type.Object({ name: Type.String(), alias: Type.String() }),
    feature_set: Type.String({ description: 'Digest of the names and types of the features.' }),
    deadline_ms: nullable(Type.Integer(), 'After it an answer is late; null = never.'),
    dedupe_window: nullable(
      Type.Integer(),
      'An event id is a repetition within so many events of its partition; null = repetitions are not looked for.',
    ),
  },
  { title: 'Pipeline' },
)

/** For path parameters. */
export const PipelineParams = Type.Object({
  pipeline: Type.String({ description: "The pipeline's name.", minLength: 1, maxLength: 256 }),
})
export const RequestIdParams = Type.Object({
  request_id: Type.String({
    description: 'As it was answered when the event was accepted.',
    minLength: 1,
    maxLength: 256,
  }),
})

/** For request headers of routes that bring something into Kafka. */
export const IntakeHeaders = Type.Object({
  'idempotency-key': Type.Optional(
    Type.String({
      description:
        'Becomes the id of the event (of several: `<key>.<index>`). Send the same key again when a request had no answer: what was accepted is not accepted twice.',
      minLength: 1,
      maxLength: 200,
    }),
  ),
  traceparent: Type.Optional(
    Type.String({ description: 'W3C trace context; goes with the event to its prediction.', maxLength: 256 }),
  ),
})

const REFUSALS = {
  400: 'What was sent is not valid.',
  401: 'No credential, or none that is valid.',
  403: 'The credential does not allow this.',
  404: 'There is no such thing, or it is not yours.',
  406: 'What the Accept header asks for is not there.',
  408: 'The request took too long to arrive.',
  409: 'It contradicts what is there.',
  410: 'It was there, and is kept no longer.',
  413: 'The body is too large.',
  414: 'The URL is too long.',
  415: 'The content type or encoding of the body is not taken.',
  422: 'It was understood, and cannot be done.',
  429: 'Too much: a limit is reached. Retry-After says when to try again.',
  431: 'The headers are too large.',
  500: 'The gateway failed.',
  503: 'The gateway, or what is behind it, is away or overloaded; try again after Retry-After. Where events or labels were sent, they may be in Kafka or come there still (`kafka_unavailable`): send the same again with the same Idempotency-Key.',
  504: 'It did not come in time.',
} as const

/** A status that a problem may have. */
export type Refusal = keyof typeof REFUSALS

interface RefusalResponse {
  readonly description: string
  readonly content: { readonly 'application/problem+json': { readonly schema: typeof Problem } }
}

/** Responses of a route that answers problems with these statuses: spread it into `schema.response`. */
export function problems<S extends Refusal>(...statuses: readonly S[]): Record<S, RefusalResponse> {
  const responses = statuses.map((status) => [
    status,
    { description: REFUSALS[status], content: { 'application/problem+json': { schema: Problem } } },
  ])
  return Object.fromEntries(responses) as Record<S, RefusalResponse>
}

/** What every route that asks for a credential may answer beside its own: 401, 403, 429, 500, 503. */
export const CREDENTIAL_PROBLEMS = problems(401, 403, 429, 500, 503)

/** What a route that takes a body may answer beside that. */
export const BODY_PROBLEMS = problems(400, 408, 413, 415)

export type AcceptedOne = Static<typeof AcceptedOne>
export type AcceptedMany = Static<typeof AcceptedMany>
export type LabelsAccepted = Static<typeof LabelsAccepted>
export type PipelineInfo = Static<typeof PipelineInfo>
