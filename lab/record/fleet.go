package record

import (
	"path/filepath"
	"time"
)

// FleetFile is in the run directory of trivet up, a Fleet.
const FleetFile = "fleet.json"

// FleetVersion is in every Fleet.
const FleetVersion = 1

// A Fleet is what trivet up started: what must be known beside the records of instances and nginx.
type Fleet struct {
	V         int        `json:"v"` // FleetVersion
	Time      time.Time  `json:"time"`
	Nginx     string     `json:"nginx"` // version
	Trivet    string     `json:"trivet"`
	Instances []Instance `json:"instances"`
	// Where nginx listens, as host:port reachable from this machine.
	HTTP string `json:"http"`
	GRPC string `json:"grpc"`
	TLS  string `json:"tls,omitempty"` // both protocols
}

// Write puts the fleet into a run directory.
func (f Fleet) Write(run string) error {
	f.V = FleetVersion
	return writeJSON(filepath.Join(run, FleetFile), f)
}

// ReadFleet reads the fleet of a run directory. The error wraps fs.ErrNotExist if there is none.
func ReadFleet(run string) (f Fleet, err error) {
	return f, readJSON(filepath.Join(run, FleetFile), "the directory of a trivet up that has started", FleetVersion, &f)
}
