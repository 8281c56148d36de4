package main

import (
	"os"
	"path/filepath"
	"regexp"
	"time"

	"trivet/internal/buildinfo"
	"trivet/lab/fleet"
	"trivet/lab/record"
)

var setsRecords = regexp.MustCompile(`(?m)^\s*(export\s+)?RECORDS\s*=`)

// addRecords makes the instances write records into the run directory, for trivet trace and the dashboard, unless the user has set where.
func addRecords(call *upCall) error {
	if _, set := os.LookupEnv("RECORDS"); set {
		return nil
	}
	if text, err := os.ReadFile(call.EnvFile); err == nil && setsRecords.Match(text) {
		return nil
	}
	path := filepath.Join(call.Dir, record.InstancesFile)
	call.Env, call.records = append(call.Env, "RECORDS="+path), true
	return record.MkdirAll(filepath.Dir(path))
}

// writeFleet writes down which instances there are, because records name them and the access log their addresses, and where nginx listens.
func writeFleet(call *upCall, f *fleet.Fleet) error {
	return record.Fleet{
		Time: time.Now(), Nginx: call.Nginx.Version.String(), Trivet: buildinfo.String(), Instances: f.Instances(), HTTP: f.HTTP(), GRPC: f.GRPC(), TLS: f.TLS(),
	}.Write(call.Dir)
}
