/*
 * Arrays and maps come in blocks: a long count, or −count and the block's bytes, then the items; a count of 0 ends them.
 *
 * avsc 5.7.9 believes the count: a dozen hostile bytes keep it reading, or collecting, items that are not there until
 * memory is full. Here a count above the bytes that are left throws. Items that take no bytes, as those of an array of
 * nulls, are held to the same bound.
 */

interface Tap {
  readonly buf: Buffer
  pos: number
  readLong(): number
  readString(): string
  skipString(): void
}

interface ItemType {
  _read(tap: Tap): unknown
  _skip(tap: Tap): void
}

/** What avsc's own declarations leave out. */
interface BlocksType {
  readonly itemsType: ItemType
  readonly valuesType: ItemType
  _read(tap: Tap): unknown
  _skip(tap: Tap): void
}

/** Mends avsc's array and map types, for the whole process. */
export function boundBlocks(types: { readonly ArrayType: object; readonly MapType: object }): void {
  const array = prototypeOf(types.ArrayType)
  array._read = function (tap) {
    const { itemsType } = this
    let count = itemsOfBlock(tap)
    // almost every array is one block: made in its size it need not grow
    const items = new Array<unknown>(count)
    for (let at = 0; count > 0; count = itemsOfBlock(tap)) {
      for (; count > 0; count--) items[at++] = itemsType._read(tap)
    }
    return items
  }
  array._skip = function (tap) {
    skipItems(tap, () => this.itemsType._skip(tap))
  }

  const map = prototypeOf(types.MapType)
  map._read = function (tap) {
    const { valuesType } = this
    const entries: Record<string, unknown> = {}
    for (let count = itemsOfBlock(tap); count > 0; count = itemsOfBlock(tap)) {
      for (; count > 0; count--) {
        const key = tap.readString()
        const value = valuesType._read(tap)
        // an assignment would set the prototype
        if (key === '__proto__') Object.defineProperty(entries, key, { value, enumerable: true })
        else entries[key] = value
      }
    }
    return entries
  }
  map._skip = function (tap) {
    skipItems(tap, () => {
      tap.skipString()
      this.valuesType._skip(tap)
    })
  }
}

function prototypeOf(type: object): BlocksType {
  return (type as { readonly prototype: BlocksType }).prototype
}

/** Items of the block that begins here; 0 = there is none any more. */
function itemsOfBlock(tap: Tap): number {
  const count = tap.readLong()
  if (count < 0) tap.readLong()
  return bounded(tap, Math.abs(count), 'items')
}

function skipItems(tap: Tap, item: () => void): void {
  for (let count = tap.readLong(); count !== 0; count = tap.readLong()) {
    if (count < 0) {
      const bytes = tap.readLong()
      tap.pos += bounded(tap, bytes, 'bytes')
    } else for (let left = bounded(tap, count, 'items'); left > 0; left--) item()
  }
}

function bounded(tap: Tap, claimed: number, what: string): number {
  const left = tap.buf.length - tap.pos
  if (claimed >= 0 && claimed <= left) return claimed
  throw new RangeError(`a block claims ${claimed} ${what} where ${Math.max(0, left)} bytes are left`)
}
