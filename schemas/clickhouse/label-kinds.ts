/** In `labels.kind`, of a row that says that its event has no label any more. */
export const WITHDRAWN = 'withdrawn'

/** SQL, of rows of `labels FINAL`: those that are a label. */
export const IS_LABEL = "kind IN ('boolean', 'number', 'class')"
