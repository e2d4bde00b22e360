/** What a child inherits: where to find programs and libraries, and settings of the runtime; no credentials. */
const INHERITED =
  /^(PATH|HOME|TMPDIR|TEMP|TMP|LANG|LC_\w+|TZ|SystemRoot|LD_LIBRARY_PATH|LD_PRELOAD|NODE_COMPILE_CACHE|MALLOC_\w+|(CUDA|NVIDIA|CUDNN|ORT)_\w+)$/

export function childEnvironment(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(env).filter(([name]) => INHERITED.test(name)))
}
