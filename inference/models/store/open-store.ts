import type { Compiled } from '../../../infra/runtime/config.ts'
import { type MODEL_STORE, S3_PLACE } from './config.ts'
import { createDirectoryStore } from './directory-store.ts'
import type { ModelStore } from './model-store.ts'

/** The store that the configuration names. Connects to nothing yet; the S3 client is loaded only for a bucket. */
export async function openModelStore(
  settings: Pick<Compiled<typeof MODEL_STORE>, 'modelStore' | 'modelStoreEndpoint'>,
): Promise<ModelStore> {
  const [, bucket, path = ''] = S3_PLACE.exec(settings.modelStore) ?? []
  if (bucket === undefined) return createDirectoryStore(settings.modelStore)
  const { createS3Store } = await import('./s3-store.ts')
  const prefix = path === '' || path.endsWith('/') ? path : `${path}/`
  return createS3Store({ bucket, prefix, endpoint: settings.modelStoreEndpoint })
}
