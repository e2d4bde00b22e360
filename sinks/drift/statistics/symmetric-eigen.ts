export interface Eigen {
  /** Descending. */
  readonly values: Float64Array
  /** vectors[i] belongs to values[i], of length 1. */
  readonly vectors: readonly Float64Array[]
}

/**
 * Eigenvalues and -vectors of a symmetric matrix by cyclic Jacobi rotations (Jacobi 1846; Golub and Van Loan, section 8.5): simple, and as
 * precise as it gets for the few dozen features here; a few ms for 100.
 * @param matrix size × size, by rows; left as it is
 * @throws RangeError for another length or a value that is not finite
 */
export function symmetricEigen(matrix: ArrayLike<number>, size: number): Eigen {
  if (matrix.length !== size * size) throw new RangeError(`${matrix.length} values are no ${size} × ${size} matrix`)
  const a = Float64Array.from(matrix)
  if (!a.every(Number.isFinite)) throw new RangeError('a matrix with a value that is not finite has no eigenvalues')
  // By rows: row i ends as the vector of a[i, i].
  const v = Float64Array.from(a, (_, at) => (at % (size + 1) === 0 ? 1 : 0))
  for (let sweep = 0; sweep < 60 && !isDiagonal(a, size); sweep++) {
    for (let p = 0; p < size - 1; p++) {
      for (let q = p + 1; q < size; q++) rotate(a, v, { p, q, size })
    }
  }
  const order = Array.from({ length: size }, (_, i) => i).sort((i, j) => a[j * (size + 1)]! - a[i * (size + 1)]!)
  return {
    values: Float64Array.from(order, (i) => a[i * (size + 1)]!),
    vectors: order.map((i) => v.slice(i * size, (i + 1) * size)),
  }
}

function isDiagonal(a: Float64Array, size: number): boolean {
  let outside = 0
  let all = 0
  for (const [at, value] of a.entries()) {
    all += value * value
    if (at % (size + 1) !== 0) outside += value * value
  }
  return outside <= 1e-32 * all
}

/** Makes a[p, q] zero. */
function rotate(
  a: Float64Array,
  v: Float64Array,
  at: { readonly p: number; readonly q: number; readonly size: number },
): void {
  const { p, q, size } = at
  const apq = a[p * size + q]!
  if (apq === 0) return
  const theta = (a[q * size + q]! - a[p * size + p]!) / (2 * apq)
  const t = (theta < 0 ? -1 : 1) / (Math.abs(theta) + Math.hypot(theta, 1))
  const c = 1 / Math.hypot(t, 1)
  const s = t * c
  for (let k = 0; k < size; k++) {
    const left = a[k * size + p]!
    const right = a[k * size + q]!
    a[k * size + p] = c * left - s * right
    a[k * size + q] = s * left + c * right
  }
  for (let k = 0; k < size; k++) {
    const above = a[p * size + k]!
    const below = a[q * size + k]!
    a[p * size + k] = c * above - s * below
    a[q * size + k] = s * above + c * below
    const one = v[p * size + k]!
    const other = v[q * size + k]!
    v[p * size + k] = c * one - s * other
    v[q * size + k] = s * one + c * other
  }
}
