// Package record defines what a run writes down: the run directory, the manifest of each trial, and the records of the three sources
// (client, nginx, instances) and of the lab itself. It reads them, also while they grow, and rejects lines with impossible values.
//
// A run directory holds an [Index] and a directory per experiment; in that, one trial directory per variant with a [Manifest] and the
// records. docs/records.md describes the formats.
package record

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
)

// ProbeIDPrefix starts the ID of every request that the lab sends for itself, to see whether a process is ready. They are no load.
const ProbeIDPrefix = "trivet-"

// writeJSON writes the whole file, or none.
func writeJSON(path string, value any) error {
	text, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", append(text, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// readJSON reads a file of one version, without which its directory is not what it should be. A field that this version does not have is
// an error: what it says would be ignored.
func readJSON(path, directory string, version int, value any) error {
	text, err := readFile(path)
	if err != nil {
		return fmt.Errorf("not %s: %w", directory, err)
	}
	var has struct{ V int }
	if err = json.Unmarshal(text, &has); err == nil && has.V != version {
		return fmt.Errorf("%s has version %d, and this trivet reads version %d: run the experiment again, or read it with the trivet that wrote it", path, has.V, version)
	}
	if err == nil {
		strict := json.NewDecoder(bytes.NewReader(text))
		strict.DisallowUnknownFields()
		err = strict.Decode(value)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}
