import { copyFileSync, existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import type { Command } from 'commander'
import { type AvroRecord, AvroSchemaError, parseRecordSchema } from '../../../schemas/pipeline/avro-schema.ts'
import { PIPELINE_NAME, PIPELINE_NAME_EXPECTED } from '../../../schemas/pipeline/load.ts'
import { PipelineError } from '../../../schemas/pipeline/problems.ts'
import { readJson } from '../../../schemas/pipeline/read-json.ts'
import { starterFiles } from '../../../schemas/pipeline/starter.ts'

export function register(program: Command): void {
  program
    .command('new')
    .description('start a pipeline folder from the Avro schema of its events')
    .argument('<name>', 'pipeline name')
    .requiredOption('--from <event.avsc>', 'Avro schema of the events')
    .option('--dir <folder>', 'where to write it (default: a folder of that name, here)')
    .action((name: string, options: { from: string; dir?: string }, command: Command) => {
      const folder = options.dir ?? name
      if (!PIPELINE_NAME.test(name)) command.error(`error: ${name} is not ${PIPELINE_NAME_EXPECTED}`)
      if (existsSync(folder)) command.error(`error: ${folder} exists already; nothing was written`)
      const files = starterFiles(name, readSchema(options.from), options.from)
      mkdirSync(join(folder, 'generated'), { recursive: true })
      copyFileSync(options.from, join(folder, 'event.avsc'))
      for (const [file, text] of files) {
        mkdirSync(dirname(join(folder, file)), { recursive: true })
        writeFileSync(join(folder, file), text)
      }
      for (const file of ['event.avsc', ...files.keys()]) console.log(`wrote ${join(folder, file)}`)
      console.log(`\nNext: choose the features in ${join(folder, 'pipeline.ts')}, then`)
      console.log(`  millrace generate ${folder}   after each change of a schema`)
      console.log(`  millrace lint ${folder}       says what is still missing, the model first`)
    })
}

function readSchema(file: string): AvroRecord {
  try {
    return parseRecordSchema(readJson(file))
  } catch (error) {
    if (!(error instanceof AvroSchemaError)) throw error
    throw new PipelineError([{ file, path: error.path, message: error.message }])
  }
}
