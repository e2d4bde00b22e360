/**
 * A thread of an executor's child that ends the process when the parent is gone, also while the main thread runs a model:
 * the parent holds the other end of this stream and never writes to it.
 */
import { Socket } from 'node:net'

const LIFELINE = 4

new Socket({ fd: LIFELINE }).resume().on('close', () => process.kill(process.pid, 'SIGKILL'))
