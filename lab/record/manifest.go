package record

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"trivet/lab/scenario"
)

// ManifestVersion is in every Manifest.
const ManifestVersion = 2

// Files of a trial directory, relative to it.
const (
	ManifestFile  = "manifest.json"           // a Manifest
	EventsFile    = "records/events.jsonl"    // one Event per line: the lab's actions, and what happened to the processes
	ClientFile    = "records/client.jsonl"    // one Client per line
	InstancesFile = "records/instances.jsonl" // one Call per line; all instances append to this file
	AccessLogFile = "logs/access.log"         // one AccessLogEntry per line
)

// A Manifest is what was set up for a trial: all that must be known beside the records. It is written before the load begins.
type Manifest struct {
	V         int               `json:"v"` // ManifestVersion
	Scenario  scenario.Scenario `json:"scenario"`
	Nginx     string            `json:"nginx"`     // version
	Trivet    string            `json:"trivet"`    // version
	Begin     time.Time         `json:"begin"`     // of the first phase, wall clock
	Planned   []int             `json:"planned"`   // requests of each of Scenario.Loads: their numbers run from 0 to Planned-1
	Instances []Instance        `json:"instances"` //
	HTTP      string            `json:"http"`      // nginx's listeners, as host:port
	GRPC      string            `json:"grpc"`      //
}

// An Instance is where one can be called.
type Instance struct {
	Name string `json:"name"`
	HTTP string `json:"http"` // as host:port
	GRPC string `json:"grpc"`
}

// Settle is how long after its start a request can be open: the longest deadline and a second.
func (m Manifest) Settle() time.Duration {
	var longest time.Duration
	for _, l := range m.Scenario.Loads {
		longest = max(longest, l.Deadline)
	}
	return longest + time.Second
}

// Write puts the manifest into a trial directory: the whole file, or none.
func (m Manifest) Write(dir string) error {
	m.V = ManifestVersion
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	path := filepath.Join(dir, ManifestFile)
	if err := os.WriteFile(path+".new", append(text, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// ReadManifest reads the manifest of a trial directory. The error wraps fs.ErrNotExist if there is none: the load never began.
func ReadManifest(dir string) (Manifest, error) {
	path := filepath.Join(dir, ManifestFile)
	text, err := os.ReadFile(path)
	if err != nil {
		return Manifest{}, fmt.Errorf("not a trial directory: %w", err)
	}
	var version struct{ V int }
	var m Manifest
	if err := json.Unmarshal(text, &version); err != nil {
		return Manifest{}, fmt.Errorf("%s: %w", path, err)
	}
	if version.V != ManifestVersion {
		return Manifest{}, versionError(path, version.V, ManifestVersion)
	}
	if err := json.Unmarshal(text, &m); err != nil {
		return Manifest{}, fmt.Errorf("%s: %w", path, err)
	}
	if len(m.Scenario.Phases) == 0 || len(m.Planned) != len(m.Scenario.Loads) {
		return Manifest{}, fmt.Errorf("%s has %d phases, and %d planned counts for %d loads", path, len(m.Scenario.Phases), len(m.Planned), len(m.Scenario.Loads))
	}
	return m, nil
}

func versionError(path string, have, want int) error {
	return fmt.Errorf("%s has version %d, and this trivet reads version %d: run the experiment again, or read it with the trivet that wrote it", path, have, want)
}
