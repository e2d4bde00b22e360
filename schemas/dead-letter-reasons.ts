/**
 * The reasons that stages give records up for. A dead letter's reason is one of these or the name of one of the
 * pipeline's own checks, which therefore may not use these names.
 */
const DEAD_LETTER_REASONS = {
  not_avro: "the value does not begin with the wire format's magic byte and schema id",
  unknown_schema: 'the registry still does not know the schema id',
  incompatible_schema: "the writer's schema cannot be read with the pipeline's",
  undecodable: 'the bytes do not match their schema',
  missing_id: 'the event id is empty',
  duplicate_event_id: "one of the records before it, within the pipeline's window, has the same event id",
  missing_key: 'a table row has no key',
  table_key_mismatch: "a table row's Kafka key is not the text of its key fields",
  invalid_time: 'the time field is not a time that can be stored',
  non_finite: 'a number is infinite, or missing where the model does not take missing values',
  step_error: "the pipeline's own code threw on this record, twice",
  no_truth: 'the label says nothing about its event, and its schema has no null by which a label is withdrawn',
  feature_width: 'the vector has another number of features than its feature set',
  feature_out_of_range: 'a feature is outside the range that the model was made for',
  feature_not_whole: 'a feature that the model takes as a whole number is none, or too large to be exact',
  output_not_finite: 'the model answered NaN or an infinity',
  output_out_of_range: 'the model answered outside the range that its manifest declares',
  model_error: 'the model failed on this record, alone as well as in its batch',
  model_crash:
    'the process that ran the model died or took too much memory on this record, alone as well as in its batch',
  model_timeout: 'the model did not answer in time on this record, alone as well as in its batch',
  value_out_of_range: 'a number or a time does not fit its column, which would store another one',
  unstorable: 'the store refused this row, alone as well as in its batch',
  record_too_large: 'what became of the record is larger than the topic takes',
  retention_lost: 'the records were deleted before they were read',
} as const

export type DeadLetterReason = keyof typeof DEAD_LETTER_REASONS

export function isDeadLetterReason(name: string): name is DeadLetterReason {
  return Object.hasOwn(DEAD_LETTER_REASONS, name)
}
