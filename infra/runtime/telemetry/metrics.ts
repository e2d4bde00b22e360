import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'

/** Metric names follow `millrace_<noun>_<unit>[_total]`; labels are bounded sets, never ids. */
export interface Metrics {
  counter<L extends string>(name: string, help: string, labels: readonly L[]): CounterOf<L>
  gauge<L extends string>(name: string, help: string, labels: readonly L[]): GaugeOf<L>
  histogram<L extends string>(
    name: string,
    help: string,
    labels: readonly L[],
    buckets: readonly number[],
  ): HistogramOf<L>
  /** The text that Prometheus reads, and its content type. */
  expose(): Promise<{ readonly contentType: string; readonly text: string }>
}

export type Labels<L extends string> = Readonly<Record<L, string>>
export interface CounterOf<L extends string> {
  add(amount: number, labels: Labels<L>): void
}
export interface GaugeOf<L extends string> {
  set(value: number, labels: Labels<L>): void
}
export interface HistogramOf<L extends string> {
  observe(value: number, labels: Labels<L>): void
}

/** A registry of its own, so that two can live in one process. */
export function createMetrics(defaultLabels: Readonly<Record<string, string>>): Metrics {
  const registry = new Registry()
  registry.setDefaultLabels({ ...defaultLabels })
  collectDefaultMetrics({ register: registry })
  return {
    counter(name, help, labelNames) {
      const metric = new Counter({ name, help, labelNames: [...labelNames], registers: [registry] })
      return { add: (amount, labels) => metric.inc(labels, amount) }
    },
    gauge(name, help, labelNames) {
      const metric = new Gauge({ name, help, labelNames: [...labelNames], registers: [registry] })
      return { set: (value, labels) => metric.set(labels, value) }
    },
    histogram(name, help, labelNames, buckets) {
      const metric = new Histogram({
        name,
        help,
        labelNames: [...labelNames],
        buckets: [...buckets],
        registers: [registry],
      })
      return { observe: (value, labels) => metric.observe(labels, value) }
    },
    async expose() {
      return { contentType: registry.contentType, text: await registry.metrics() }
    },
  }
}
