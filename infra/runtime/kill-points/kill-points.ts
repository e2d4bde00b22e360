/**
 * The places in the stages where the failure suite kills or stops a process, each between two steps that a crash can
 * separate. A place calls `killPoint` from `#kill-points`, which does nothing in the product.
 */
export const KILL_POINTS = {
  'after-fetch': 'records have come from the broker; nothing is decoded',
  'after-decode': 'their values are decoded and the handler is done with them; nothing is decided',
  'before-produce-dead-letters': 'dead letters are encoded; nothing of the batch is sent',
  'after-produce-dead-letters': 'dead letters are acknowledged; its outputs are not sent',
  'before-produce-outputs': 'outputs are encoded and about to be sent',
  'after-produce-outputs': 'outputs are acknowledged; the position is not committed',
  'before-commit': 'an offset commit is about to be sent',
  'after-commit': 'an offset commit is answered',
  'sealed-not-inserted': 'a chunk for ClickHouse is sealed in the commit; its insert is not sent',
  'inserted-unanswered': 'its insert is sent and may have landed; the answer is not read',
  'during-claim': 'the epoch of a lane is bumped; nothing is fenced',
  'between-fence-and-tail': 'a lane is fenced; its tails are not read',
  'during-rebalance': 'a new assignment is known; lanes are neither drained nor opened',
} as const

export type KillPoint = keyof typeof KILL_POINTS
