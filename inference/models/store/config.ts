import { z } from 'zod'
import type { Variable } from '../../../infra/runtime/config.ts'

/** `s3://bucket/prefix`; the prefix may be missing. */
export const S3_PLACE = /^s3:\/\/([a-z0-9][a-z0-9.-]+)\/?(.*)$/

export const MODEL_STORE = {
  modelStore: {
    name: 'MILLRACE_MODEL_STORE',
    about: 'Where model versions are kept: a directory, or s3://bucket/prefix (credentials and region as AWS_*)',
    fallback: '.millrace/model-store',
    optional: false,
    parse: z
      .string()
      .refine((value) => S3_PLACE.test(value) || !value.includes('://'), 'must be a directory or s3://bucket/prefix'),
  },
  modelStoreEndpoint: {
    name: 'MILLRACE_MODEL_STORE_S3_ENDPOINT',
    about: 'URL of a service that speaks S3, when it is not Amazon’s',
    fallback: null,
    optional: true,
    parse: z.string().refine((value) => URL.canParse(value), 'must be a URL'),
  },
  modelCache: {
    name: 'MILLRACE_MODEL_CACHE',
    about: 'Directory on this machine into which model versions are fetched',
    fallback: '.millrace/model-cache',
    optional: false,
    parse: z.string().min(1),
  },
} as const satisfies Readonly<Record<string, Variable<string> | Variable<string | undefined>>>
