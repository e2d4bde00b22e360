import type { HeldRoute, Route, Routes } from './routes.ts'

/** The routes of one call: each feature set has the same one throughout. */
export interface HeldRoutes {
  /** Null when nothing that is loaded takes the feature set. */
  routeOf(featureSet: string): Route | null
  /** Once. */
  release(): void
}

export function holdRoutes(routes: Routes): HeldRoutes {
  const held = new Map<string, HeldRoute | null>()
  return {
    routeOf(featureSet) {
      let route = held.get(featureSet)
      if (route === undefined) {
        route = routes.acquire(featureSet)
        held.set(featureSet, route)
      }
      return route
    },
    release() {
      for (const route of held.values()) route?.release()
    },
  }
}
