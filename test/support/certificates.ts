import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'

/** A CA made for one test run, and what it signed. Files are PEM. */
export interface Certificates {
  readonly caFile: string
  readonly ca: string
  /** Key and certificate for 127.0.0.1 and localhost in one file, as a broker takes it. */
  readonly serverFile: string
  readonly client: { readonly cert: string; readonly key: string }
  /** Another CA, which has signed nothing. */
  readonly otherCa: string
  remove(): void
}

const openssl = (folder: string, args: readonly string[]): Promise<unknown> =>
  promisify(execFile)('openssl', args, { cwd: folder })
const KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']

/** With the `openssl` of the machine; valid for a day. */
export async function makeCertificates(): Promise<Certificates> {
  const folder = mkdtempSync(path.join(tmpdir(), 'millrace-certificates-'))
  const file = (name: string): string => path.join(folder, name)
  const read = (name: string): string => readFileSync(file(name), 'utf8')

  const authority = (name: string): Promise<unknown> =>
    openssl(folder, [
      'req',
      '-x509',
      ...KEY,
      '-keyout',
      `${name}.key`,
      '-out',
      `${name}.pem`,
      '-days',
      '1',
      '-subj',
      `/CN=${name}`,
    ])
  await Promise.all([authority('ca'), authority('other')])

  const sign = async (name: string, extensions: string): Promise<void> => {
    writeFileSync(file(`${name}.ext`), extensions)
    await openssl(folder, [
      'req',
      '-new',
      ...KEY,
      '-keyout',
      `${name}.key`,
      '-out',
      `${name}.csr`,
      '-subj',
      `/CN=${name}`,
    ])
    const by = ['-CA', 'ca.pem', '-CAkey', 'ca.key', '-CAserial', `${name}.srl`, '-CAcreateserial']
    await openssl(folder, [
      'x509',
      '-req',
      '-in',
      `${name}.csr`,
      ...by,
      '-out',
      `${name}.pem`,
      '-days',
      '1',
      '-extfile',
      `${name}.ext`,
    ])
  }
  await Promise.all([
    sign('server', 'subjectAltName=IP:127.0.0.1,DNS:localhost\n'),
    sign('client', 'extendedKeyUsage=clientAuth\n'),
  ])
  writeFileSync(file('server-with-key.pem'), read('server.key') + read('server.pem') + read('ca.pem'))

  return {
    caFile: file('ca.pem'),
    ca: read('ca.pem'),
    serverFile: file('server-with-key.pem'),
    client: { cert: read('client.pem'), key: read('client.key') },
    otherCa: read('other.pem'),
    remove: () => rmSync(folder, { recursive: true, force: true }),
  }
}
