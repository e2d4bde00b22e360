/**
 * Partition of a key, as Kafka's own clients choose it: murmur2 (seed 0x9747b28c) of the key's bytes, sign bit cleared,
 * modulo the partition count. Source: org.apache.kafka.common.utils.Utils.murmur2.
 */
export function partitionOfKey(key: Buffer, partitions: number): number {
  return (murmur2(key) & 0x7fffffff) % partitions
}

export function murmur2(data: Buffer): number {
  const m = 0x5bd1e995
  const length = data.length
  let h = 0x9747b28c ^ length
  const words = length >>> 2
  for (let i = 0; i < words; i++) {
    let k = data.readInt32LE(i * 4)
    k = Math.imul(k, m)
    k ^= k >>> 24
    k = Math.imul(k, m)
    h = Math.imul(h, m) ^ k
  }
  const tail = words * 4
  const rest = length & 3
  if (rest >= 3) h ^= data.readUInt8(tail + 2) << 16
  if (rest >= 2) h ^= data.readUInt8(tail + 1) << 8
  if (rest >= 1) h = Math.imul(h ^ data.readUInt8(tail), m)
  h ^= h >>> 13
  h = Math.imul(h, m)
  return h ^ (h >>> 15)
}
