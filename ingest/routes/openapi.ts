import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import helmet from '@fastify/helmet'
import swagger, { type SwaggerTransform, type SwaggerTransformObject } from '@fastify/swagger'
import type { FastifySchema } from 'fastify'
import { Type } from 'typebox'
import type { Gateway } from '../http/request.ts'
import { problems } from '../http/schemas.ts'
import { errors } from '../v2/error-shape.ts'
import { namedComponents } from './openapi-components.ts'

/** Old browsers' ways, and what is for pages alone. Whether there is TLS is for whoever ends it to say. */
const LEFT_OUT = {
  strictTransportSecurity: false,
  crossOriginOpenerPolicy: false,
  originAgentCluster: false,
  xDnsPrefetchControl: false,
  xDownloadOptions: false,
  xFrameOptions: false,
  xPermittedCrossDomainPolicies: false,
  xXssProtection: false,
} as const
/** What the API's own answers may do in a browser: nothing. */
const API_POLICY = { defaultSrc: ["'none'"], frameAncestors: ["'none'"] }
/** The page loads everything from here; its script sets styles and inlines its icons. */
const PAGE_POLICY = {
  defaultSrc: ["'none'"],
  scriptSrc: ["'self'"],
  styleSrc: ["'self'", "'unsafe-inline'"],
  imgSrc: ["'self'", 'data:'],
  connectSrc: ["'self'"],
  baseUri: ["'none'"],
  formAction: ["'none'"],
  frameAncestors: ["'none'"],
}

const UI_FOLDER = path.dirname(fileURLToPath(import.meta.resolve('@fastify/swagger-ui')))
/** Of swagger-ui's distribution, by the names they are served under. */
const UI_FILES = {
  'swagger-ui.css': 'text/css; charset=utf-8',
  'swagger-ui-bundle.js': 'text/javascript; charset=utf-8',
} as const
const START_SCRIPT = `SwaggerUIBundle({ url: '/openapi.json', dom_id: '#docs', deepLinking: true, persistAuthorization: false })\n`

const TAGS = [
  { name: 'events', description: 'Events in: what is answered with 202 is in Kafka.' },
  { name: 'predictions', description: 'Predictions out: waited for, asked for, or as a stream.' },
  { name: 'labels', description: 'What was true in the end.' },
  { name: 'pipelines', description: 'What the pipeline takes and answers.' },
  {
    name: 'v2',
    description: 'The same, as the Open Inference Protocol (KServe, Triton) has it: columns in, columns out.',
  },
  { name: 'health', description: 'For load balancers and orchestrators.' },
  { name: 'documents', description: 'This description.' },
]

/**
 * The OpenAPI 3.1 document of all routes that are added after it, at `/openapi.json`, and a page of it at `/docs`. Comes before every
 * other plugin. Response schemas describe and do not shape: replies are written whole, as JSON.stringify has them.
 */
export function documents(options: {
  readonly pipeline: string
  readonly version: string
}): (app: Gateway) => Promise<void> {
  return async (app) => {
    app.setSerializerCompiler(() => JSON.stringify)
    await app.register(helmet, {
      contentSecurityPolicy: { useDefaults: false, directives: API_POLICY },
      ...LEFT_OUT,
    })
    await app.register(swagger, {
      openapi: {
        openapi: '3.1.0',
        info: {
          title: `Millrace: ${options.pipeline}`,
          version: options.version,
          description: `The HTTP face of the pipeline ${options.pipeline}.`,
        },
        servers: [{ url: '/', description: 'This gateway.' }],
        tags: TAGS,
        components: {
          securitySchemes: {
            bearer: { type: 'http', scheme: 'bearer', description: 'An API key (`mr_…`) or a JWT.' },
            apiKey: { type: 'apiKey', in: 'header', name: 'x-api-key', description: 'An API key.' },
          },
        },
      },
      transform: documented(options.pipeline),
      transformObject: withComponents,
    })
    documentRoutes(app)
    await pageRoutes(app)
  }
}

/** What can happen to every request before its route has it. */
const EVERYWHERE = [400, 414, 431] as const

function documented(pipeline: string): SwaggerTransform {
  return ({ schema, url, route }) => {
    const { scope, deprecated, documentedBody } = route.config ?? {}
    const described: FastifySchema & Record<string, unknown> = { ...schema }
    described.security = scope === 'public' ? [] : [{ bearer: [] }, { apiKey: [] }]
    if (scope !== undefined && scope !== 'public') {
      described.description = [schema?.description, `Needs the scope \`${scope}\`.`].filter(Boolean).join('\n\n')
    }
    if (deprecated !== undefined) described.deprecated = true
    if (documentedBody !== undefined) described.body = documentedBody
    if (schema?.params !== undefined) described.params = withPipeline(schema.params as ObjectSchema, pipeline)
    const everywhere = url.startsWith('/v2') ? errors(...EVERYWHERE) : problems(...EVERYWHERE)
    described.response = { ...everywhere, ...(schema?.response as object | undefined) }
    return { schema: described, url }
  }
}

interface ObjectSchema {
  readonly properties: Readonly<Record<string, object>>
}

/** A gateway serves one pipeline: there is one value for the parameter. */
function withPipeline(params: ObjectSchema, pipeline: string): ObjectSchema {
  const { properties } = params
  const named = ['pipeline', 'model'].filter((name) => Object.hasOwn(properties, name))
  const constant = named.map((name) => [name, { ...properties[name], enum: [pipeline] }])
  return { ...params, properties: { ...properties, ...Object.fromEntries(constant) } }
}

const withComponents: SwaggerTransformObject = (document) => {
  if (!('openapiObject' in document)) throw new Error('the document is not OpenAPI')
  return namedComponents(document.openapiObject)
}

/** Sent as the text that it is. */
const AnyObject = Type.Unsafe<string>({ type: 'object', additionalProperties: true })

function documentRoutes(app: Gateway): void {
  let text: string | null = null
  app.get(
    '/openapi.json',
    {
      config: { scope: 'public' },
      schema: {
        operationId: 'getOpenApi',
        summary: 'This document',
        tags: ['documents'],
        response: {
          200: {
            description: 'OpenAPI 3.1.',
            content: { 'application/json': { schema: AnyObject } },
          },
          ...problems(500),
        },
      },
    },
    async (_request, reply) => {
      text ??= JSON.stringify(app.swagger())
      return reply.type('application/json').send(text)
    },
  )
}

async function pageRoutes(app: Gateway): Promise<void> {
  const html = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Millrace gateway</title>
<link rel="stylesheet" href="/docs/swagger-ui.css">
<link rel="icon" href="data:,">
<div id="docs"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</html>
`
  const page = (url: string, type: string, content: string | Buffer): void => {
    app.get(
      url,
      {
        config: { scope: 'public' },
        schema: { hide: true },
        helmet: {
          contentSecurityPolicy: { useDefaults: false, directives: PAGE_POLICY },
          ...LEFT_OUT,
        },
      },
      async (_request, reply) => reply.type(type).header('cache-control', 'public, max-age=3600').send(content),
    )
  }
  page('/docs', 'text/html; charset=utf-8', html)
  page('/docs/start.js', 'text/javascript; charset=utf-8', START_SCRIPT)
  for (const [name, type] of Object.entries(UI_FILES)) {
    page(`/docs/${name}`, type, await readFile(path.join(UI_FOLDER, 'static', name)))
  }
}
