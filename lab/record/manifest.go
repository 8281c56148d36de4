package record

import (
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"trivet/internal/words"
	"trivet/lab/scenario"
)

// ManifestVersion is in every Manifest.
const ManifestVersion = 3

// TLSDir is the directory of a fleet's certificates, in a run directory or a trial directory.
const TLSDir = "tls"

// LoadsDir is the directory of the loads that a person started, in the run directory of a trivet up: each has a trial directory, by number
// from 1.
const LoadsDir = "loads"

// Directories of nginx's configuration in a trial directory. ShippedDir has, of each file in ConfDir that edits changed, what it was before.
const (
	ConfDir    = "conf"
	ShippedDir = "shipped"
)

// Files of a trial directory, relative to it.
const (
	ManifestFile  = "manifest.json"           // a Manifest
	EventsFile    = "records/events.jsonl"    // one Event per line: the lab's actions, and what happened to the processes
	ClientFile    = "records/client.jsonl"    // one Client per line
	InstancesFile = "records/instances.jsonl" // one Call per line; all instances append to this file
	AccessLogFile = "logs/access.log"         // one AccessLogEntry per line
	SamplesFile   = "records/processes.jsonl" // one Sample per line
)

// A Manifest is what was set up for a trial: all that must be known beside the records. It is written before the load begins.
type Manifest struct {
	V         int               `json:"v"` // ManifestVersion
	Scenario  scenario.Scenario `json:"scenario"`
	Nginx     string            `json:"nginx"`            // version
	Trivet    string            `json:"trivet"`           // version
	Begin     time.Time         `json:"begin"`            // of the first phase, wall clock
	Planned   []int             `json:"planned"`          // requests of each of Scenario.Loads: their numbers run from 0 to Planned-1
	Instances []Instance        `json:"instances"`        //
	HTTP      string            `json:"http"`             // nginx's listeners, as host:port
	GRPC      string            `json:"grpc"`             //
	Trial     int               `json:"trial"`            // of its variant, from 1
	Sampled   bool              `json:"sampled"`          // whether the trial writes SamplesFile
	CPUs      int               `json:"cpus"`             // that the processes could use
	Target    *Target           `json:"target,omitempty"` // nil: a fleet that the trial started itself
	// From are the sizes that files of records had before the trial, by name: nothing before is of the trial. Files without one are read whole.
	From map[string]int64 `json:"from,omitempty"`
}

// A Target is what a trial was run against, if the trial did not start it, and what it gives.
type Target struct {
	Kind      string `json:"kind"`       // scenario.Compose, Kubernetes or URL
	Name      string `json:"name"`       // as trivet run --target has it: "compose:trivet", "k8s:trivet-dev", or a URL
	AccessLog bool   `json:"access_log"` // whether nginx's access log is read, of each nginx
	Calls     bool   `json:"calls"`      // whether the instances' records are read
	Nginxes   int    `json:"nginxes"`    // how many of nginx share the load; 0: unknown
	// Changes reports whether instances may come and go during the trial. One that comes is announced by a Started event with Instance.
	Changes bool `json:"changes"`
}

// An Instance is where one can be called.
type Instance struct {
	Name string `json:"name"`
	HTTP string `json:"http"` // as host:port
	GRPC string `json:"grpc"`
}

// Has reports whether the trial has records of nginx (its access log) and of the instances. Of a load that goes past nginx, nginx has none.
func (m Manifest) Has() (accessLog, calls bool) {
	if m.Target == nil {
		return true, true
	}
	return m.Target.AccessLog && m.Scenario.Through == "", m.Target.Calls
}

// ProcessName is the name that events have of what a scenario calls so: on a target whoami-2 is the second of its instances.
func (m Manifest) ProcessName(name string) string {
	if m.Target == nil {
		return name
	}
	for i, instance := range m.Instances {
		if name == scenario.InstanceName(i+1) {
			return instance.Name
		}
	}
	return name
}

// Settle is how long after its start a request can be open: the longest deadline and a second.
func (m Manifest) Settle() time.Duration {
	var longest time.Duration
	for _, l := range m.Scenario.Loads {
		longest = max(longest, l.Deadline)
	}
	return longest + time.Second
}

// Write puts the manifest into a trial directory.
func (m Manifest) Write(dir string) error {
	m.V = ManifestVersion
	return writeJSON(filepath.Join(dir, ManifestFile), m)
}

// ReadManifest reads the manifest of a trial directory. The error wraps fs.ErrNotExist if there is none: the load never began.
func ReadManifest(dir string) (m Manifest, err error) {
	path := filepath.Join(dir, ManifestFile)
	if err := readJSON(path, "a trial directory", ManifestVersion, &m); err != nil {
		return m, err
	}
	if err := m.Scenario.Validate(); err != nil {
		return m, fmt.Errorf("%s: scenario: %w", path, err)
	}
	if len(m.Planned) != len(m.Scenario.Loads) || slices.Min(m.Planned) < 0 {
		return m, fmt.Errorf("%s: planned: %d, want a count for each of %s", path, m.Planned, words.Count(len(m.Scenario.Loads), "load"))
	}
	return m, nil
}
