/** Who may import whom. `schemas` ← `infra/runtime` ← stage files ← `<stage>/main.ts`; one file or folder per vendor package. */
import type { IConfiguration, IRegularForbiddenRuleType } from 'dependency-cruiser'

const STAGES = ['ingest', 'processors', 'inference', 'sinks']
const ANY_STAGE = `^(${STAGES.join('|')})/`
const PRODUCT = '^(ingest|processors|inference|sinks|schemas|infra)/'

/** Packages, and the only place of the product that imports each. */
const VENDORS = {
  // measured beside ours
  kafkajs: '^infra/(runtime/kafka|bench)/',
  '@kafkajs/confluent-schema-registry': '^infra/(runtime/avro/schema-registry\\.ts$|bench/)',
  avsc: '^infra/runtime/avro/avro-type\\.ts$',
  ioredis: '^infra/runtime/redis/redis-client\\.ts$',
  '@clickhouse/client': '^infra/runtime/clickhouse/clickhouse-client\\.ts$',
  '@node-rs/crc32': '^infra/runtime/kafka/record-batches/crc32c\\.ts$',
  'lz4-napi': '^infra/runtime/kafka/record-batches/codecs/lz4\\.ts$',
  snappy: '^infra/runtime/kafka/record-batches/codecs/snappy\\.ts$',
  'onnxruntime-node': '^(inference/models/onnx-session\\.ts$|infra/bench/)',
  pino: '^infra/runtime/telemetry/logger\\.ts$',
  'prom-client': '^infra/runtime/telemetry/metrics\\.ts$',
  '@aws-sdk/client-s3': '^inference/models/store/s3-store\\.ts$',
  yaml: '^inference/models/import/mlflow\\.ts$',
  commander: '^infra/cli/',
  'log-update': '^infra/cli/',
  chdb: '^infra/local/clickhouse/engine\\.ts$',
  // beside the gateway, what it is measured against
  fastify: '^(ingest/|test/bench/gateway/bare\\.ts$)',
  typebox: '^ingest/',
  '@fastify/type-provider-typebox': '^ingest/',
  '@fastify/swagger': '^ingest/',
  '@fastify/swagger-ui': '^ingest/',
  '@fastify/helmet': '^ingest/',
  jose: '^ingest/access/',
  zod: '(^|/)config\\.ts$',
}

const folderOf = (name: string) => `(^|/)node_modules/${name}/`

const forbidden: IRegularForbiddenRuleType[] = [
  {
    name: 'schemas-is-a-leaf',
    severity: 'error',
    from: { path: '^schemas/' },
    to: { pathNot: '^schemas/', dependencyTypesNot: ['core'] },
  },
  {
    name: 'runtime-imports-only-schemas',
    severity: 'error',
    from: { path: '^infra/runtime/' },
    to: { path: '.', pathNot: ['^schemas/', '^infra/runtime/', 'node_modules/'], dependencyTypesNot: ['core'] },
  },
  ...STAGES.map(
    (stage): IRegularForbiddenRuleType => ({
      name: `${stage}-imports-only-schemas-runtime-and-itself`,
      severity: 'error',
      from: { path: `^${stage}/`, pathNot: '^inference/fused-main\\.ts$' },
      to: {
        pathNot: [`^${stage}/`, '^schemas/', '^infra/runtime/', 'node_modules/'],
        dependencyTypesNot: ['core'],
      },
    }),
  ),
  {
    name: 'fused-main-joins-processors-to-scoring',
    severity: 'error',
    from: { path: '^inference/fused-main\\.ts$' },
    to: {
      pathNot: ['^inference/', '^processors/(?!main)', '^schemas/', '^infra/runtime/', 'node_modules/'],
      dependencyTypesNot: ['core'],
    },
  },
  {
    name: 'infra-imports-no-stage',
    severity: 'error',
    from: { path: '^infra/' },
    to: { path: ANY_STAGE },
  },
  {
    name: 'product-imports-no-test',
    severity: 'error',
    from: { path: PRODUCT },
    to: { path: '^test/' },
  },
  {
    name: 'product-imports-no-development-package',
    severity: 'error',
    from: { path: PRODUCT, pathNot: '^infra/tooling/' },
    to: { dependencyTypes: ['npm-dev'], pathNot: folderOf('@types') },
  },
  {
    name: 'no-undeclared-package',
    severity: 'error',
    from: {},
    to: { dependencyTypes: ['npm-no-pkg', 'npm-unknown', 'unknown'] },
  },
  ...Object.entries(VENDORS).map(
    ([name, place]): IRegularForbiddenRuleType => ({
      name: `${name.replace(/\W+/g, '-')}-has-one-place`,
      severity: 'error',
      from: { path: PRODUCT, pathNot: place },
      to: { path: folderOf(name) },
    }),
  ),
  {
    name: 'no-other-vendor',
    comment: 'A new package gets a place in VENDORS.',
    severity: 'error',
    from: { path: PRODUCT, pathNot: '^infra/tooling/' },
    to: { path: 'node_modules/', pathNot: Object.keys(VENDORS).map(folderOf) },
  },
  { name: 'no-cycle', severity: 'error', from: {}, to: { circular: true } },
  {
    name: 'no-orphan',
    severity: 'error',
    from: { orphan: true, pathNot: '(^|/)main\\.ts$|\\.test\\.ts$|^infra/tooling/' },
    to: {},
  },
  { name: 'no-unresolvable', severity: 'error', from: {}, to: { couldNotResolve: true } },
]

const configuration: IConfiguration = {
  forbidden,
  options: {
    doNotFollow: { path: 'node_modules' },
    // What the installed command imports; it is there only after a build.
    exclude: { path: '^(dist|\\.\\./\\.\\./dist)/' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['millrace-source', 'import', 'require', 'node', 'default', 'types'],
    },
  },
}

export default configuration
