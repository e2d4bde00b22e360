import path from 'node:path'
import { type Command, InvalidArgumentError } from 'commander'
import { runUp, type UpOptions } from '../up/run-up.ts'
import { positive } from './topics.ts'

export function register(program: Command): void {
  program
    .command('up')
    .description('run a pipeline on the local stack: components, topics, schemas, tables, stages and sample data')
    .argument('[folder]', 'pipeline folder', path.join(import.meta.dirname, '../../sample/flights'))
    .option('--limit <n>', 'replay so many events, from --from on', positive)
    .option('--from <date>', 'first day to replay (default with --limit: 2013-03-15)', date)
    .option('--rate <n>', 'events per second, or max (default: 2000, with --exit max)', rate)
    .option('--exit', 'leave once every record is accounted for; status 0 when nothing is missing', false)
    .option('--fresh', 'delete the data of earlier runs first', false)
    .option('--partitions <n>', 'lanes, when the events topic does not exist yet', positive, 4)
    .option('--fused', 'processors and inference in one process, without the features topic', false)
    .option('--allow-single-replica', 'accept external brokers that lose data with one of them', false)
    .action(async (folder: string, options: Omit<UpOptions, 'folder'>) => {
      process.exitCode = await runUp({ ...options, folder: path.resolve(folder) })
    })
}

function date(text: string): string {
  if (!/^\d{4}-\d{2}-\d{2}$/.test(text) || Number.isNaN(Date.parse(text))) {
    throw new InvalidArgumentError('must be a date, yyyy-mm-dd.')
  }
  return text
}

function rate(text: string): string {
  return text === 'max' ? text : String(positive(text))
}
