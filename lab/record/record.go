// Package record defines what a run writes down: the run directory, the manifest of each trial, and the records of the three sources
// (client, nginx, instances) and of the lab itself. It reads them, also while they grow, and rejects lines with impossible values.
//
// A run directory holds an [Index] and a directory per experiment; in that, one trial directory per variant with a [Manifest] and the
// records. docs/records.md describes the formats.
package record

// ProbeIDPrefix starts the ID of every request that the lab sends for itself, to see whether a process is ready. They are no load.
const ProbeIDPrefix = "trivet-"
