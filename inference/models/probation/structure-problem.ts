import { statSync } from 'node:fs'
import path from 'node:path'
import type { ModelManifest } from '../../../schemas/pipeline/manifest.ts'
import { type ExternalData, type OnnxStructure, readStructure } from './onnx-structure.ts'
import type { Allowed, ProbationCode } from './probation.ts'
import { treeProblem } from './tree-problem.ts'
import { WireError } from './wire-reader.ts'

export interface StructureProblem {
  readonly code: ProbationCode
  readonly message: string
}

const CONTROL_FLOW = ['Loop', 'Scan', 'If', 'SequenceMap']
/** Both names of ONNX's own operators. */
const STANDARD = ['', 'ai.onnx']

/** What of the model file forbids even to load it; null when nothing does. */
export function structureProblem(model: Buffer, manifest: ModelManifest, allowed: Allowed): StructureProblem | null {
  let structure: OnnxStructure
  try {
    structure = readStructure(model)
  } catch (error) {
    if (!(error instanceof WireError)) throw error
    return { code: 'bad_structure', message: `it is no ONNX file: ${error.message}` }
  }
  const { irVersion, graphs, opsets, functions, nodes, external } = structure
  if (irVersion < 1 || graphs !== 1 || opsets.length === 0) {
    const message = `it is no ONNX file: version ${irVersion}, ${graphs} graphs, ${opsets.length} operator sets`
    return { code: 'bad_structure', message }
  }
  if (functions.length > 0 && !allowed.functions) {
    return { code: 'functions', message: `it defines functions of its own: ${functions.slice(0, 3).join(', ')}` }
  }
  for (const { domain, operator, hasGraph } of nodes) {
    const own = functions.includes(operator)
    if (!own && !manifest.domains.includes(domain)) {
      const message = `it uses ${operator} of the domain ${JSON.stringify(domain)}, the manifest allows ${manifest.domains.map((one) => JSON.stringify(one)).join(', ')}`
      return { code: 'domain', message }
    }
    const flows = hasGraph || (STANDARD.includes(domain) && CONTROL_FLOW.includes(operator))
    if (flows && !allowed.controlFlow) {
      return { code: 'control_flow', message: `it uses ${operator}, which may run without end` }
    }
  }
  for (const node of nodes) {
    const width = structure.widths.get(node.inputs[0] ?? '') ?? null
    const problem = treeProblem(node, width)
    if (problem !== null) return { code: 'trees', message: `${node.operator}: ${problem}` }
  }
  for (const one of external) {
    const problem = externalProblem(one, manifest)
    if (problem !== null) return { code: 'external_data', message: `tensor ${one.tensor}: ${problem}` }
  }
  return null
}

function externalProblem({ location, offset, length }: ExternalData, { folder, files }: ModelManifest): string | null {
  // the manifest's files lie inside the folder, and have been verified
  const file = files.find(({ path: name }) => name === path.posix.normalize(location))
  if (file === undefined) return `its data are in ${JSON.stringify(location)}, which the manifest does not name`
  const { size } = statSync(path.join(folder, file.path))
  const end = offset + (length ?? 0)
  if (Number.isInteger(end) && offset >= 0 && end >= offset && end <= size) return null
  return `its data are ${length ?? 'all'} bytes from ${offset} on, ${location} has ${size}`
}
