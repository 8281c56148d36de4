package fleet

import (
	"context"
	"errors"
	"path/filepath"
	"time"

	"trivet/lab/record"
	"trivet/lab/scenario"
	"trivet/nginx"
)

// Local starts the fleets of trials, from these programs.
type Local struct {
	Nginx  nginx.Binary // from nginx.Find
	Whoami string       // path of whoami's program
	Front  string       // path of front's program; "": no scenario has front
}

// Start starts the fleet of a scenario in a trial directory. Processes that die stay down. observe gets the fleet's events.
func (l Local) Start(ctx context.Context, s scenario.Scenario, dir string, observe func(record.Event)) (*Fleet, error) {
	return startTrial(ctx, Options{
		Instances: s.Instances, Front: s.Front, Workers: s.Workers, TLS: s.TLS, MTLS: s.MTLS, Files: s.Files, Edits: s.Edits,
		Whoami: l.Whoami, FrontProgram: l.Front, Nginx: l.Nginx, Dir: dir,
		Env: trialEnv(s, dir), CleanEnv: true, NoRestart: true,
		Observe: func(e Event) {
			observe(record.Event{Time: e.Time, Event: record.ProcessEvent, Kind: e.Kind, Process: e.Process, Start: e.Start, PID: e.PID, Exit: e.Exit})
		},
		Health: func(h Health) {
			observe(record.Event{Time: h.Time, Event: record.HealthEvent, Kind: h.Kind, Process: h.Process})
		},
		Probed: func(id string) { observe(record.Event{Time: time.Now(), Event: record.Probe, ID: id}) },
	})
}

// trialEnv are the settings of the instances of a trial.
func trialEnv(s scenario.Scenario, dir string) []string {
	env := []string{"RECORDS=" + filepath.Join(dir, record.InstancesFile)}
	if s.TLSMin != "" {
		env = append(env, "TLS_MIN_VERSION="+s.TLSMin)
	}
	return env
}

// startTrial refuses a balancer whose access log the ledger cannot reconcile.
func startTrial(ctx context.Context, o Options) (*Fleet, error) {
	if b := o.balancer(); !b.Info().AllAttempts {
		return nil, errors.New("a trial needs a load balancer whose access log has every attempt, not only the last")
	}
	return Start(ctx, o)
}
