/** A pane whose counts do not add up to its predictions. */
export interface PaneFault {
  /** Start, epoch ms. */
  readonly pane: number
  /** Predictions, each once. */
  readonly predictions: number
  /** What the pane counted. */
  readonly counted: number
}
