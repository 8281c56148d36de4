//go:build race

package experiment

// underRace is whether the race detector watches.
const underRace = true
