/** Headers on the events topic. */
export const TENANT_HEADER = 'millrace-tenant'
export const TRACEPARENT_HEADER = 'traceparent'
export const REPLAY_OF_HEADER = 'millrace-replay-of'
