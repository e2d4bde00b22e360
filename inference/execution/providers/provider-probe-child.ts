/** Exits with 0 when the provider named by its argument can run models here, with 3 when it cannot. */
import { describeError } from '../../../infra/runtime/errors.ts'
import { createOnnxSession } from '../../models/onnx-session.ts'
import type { Provider } from '../run-rows.ts'
import { MISSING } from './is-provider-there.ts'

const [provider] = process.argv.slice(2) as [Provider]
try {
  // no model at all: where the provider is there, that is what is refused
  await (await createOnnxSession(Buffer.alloc(0), provider)).release()
} catch (error) {
  if (describeError(error).code === 'provider_missing') process.exitCode = MISSING
}
