package session

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"trivet/internal/buildinfo"
	"trivet/lab/record"
	"trivet/lab/sampler"
	"trivet/lab/scenario"
)

const (
	// reserve is what must stay free, in bytes: with less, nginx and the instances could not even write why they fail.
	reserve = 256 << 20
	// perRequest is about what the records of one request take, in bytes, and minute is for how long there must be room.
	perRequest = 3000
	minute     = 60
)

// checkSpace returns an error if there is too little room for a load's records.
func checkSpace(dir string, l Load) error {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return fmt.Errorf("%w: %s: %w", record.ErrRunDir, dir, err)
	}
	need := reserve + uint64((l.HTTP+l.GRPC+float64(l.Streams))*minute*perRequest)
	if free := s.Bavail * uint64(s.Bsize); free < need {
		return notNow("%s has %d MB free, and the records need %d; remove files, or set TMPDIR to a directory with room", dir, free>>20, (need-1)>>20+1)
	}
	return nil
}

// manifest is that of a load.
func (s *Session) manifest(l Load, begin time.Time) record.Manifest {
	f := s.options.Fleet
	instances, front := s.services()
	m := record.Manifest{
		V: record.ManifestVersion, Nginx: s.options.Nginx, Trivet: buildinfo.String(), Begin: begin, Instances: f.Instances(), HTTP: f.HTTP(), GRPC: f.GRPC(),
		Trial: 1, CPUs: runtime.NumCPU(), Sampled: sampler.Supported() == nil,
		Scenario: scenario.Scenario{
			Variant: scenario.Only, Seed: uint64(rand.Uint32()), Instances: instances, Front: front, Workers: max(1, s.options.Workers), Target: target,
			Loads: l.loads(), Phases: []scenario.Phase{{Name: "load", For: s.longest}},
		},
		Target: &record.Target{Kind: target, Name: "trivet up", Nginxes: 1},
		From:   make(map[string]int64),
	}
	for _, one := range m.Scenario.Loads {
		m.Planned = append(m.Planned, one.Rate.Estimate(s.longest))
	}
	return m
}

// target is the kind of target that a load directory names: requests of others are lawful there.
const target = "up"

// prepare makes the directory of a load: the manifest, and links to the records that all loads share.
func (s *Session) prepare(l *running) error {
	m := &l.manifest
	for _, dir := range []string{"", "records", "logs"} {
		if err := record.MkdirAll(filepath.Join(l.dir, dir)); err != nil {
			return fmt.Errorf("%w: %w", record.ErrRunDir, err)
		}
	}
	for name, has := range map[string]*bool{record.InstancesFile: &m.Target.Calls, record.AccessLogFile: &m.Target.AccessLog} {
		info, err := os.Stat(filepath.Join(s.dir, name))
		if err != nil {
			continue // RECORDS may say that the instances write elsewhere.
		}
		*has = true
		m.From[name] = info.Size()
		if err := os.Symlink(filepath.Join("..", "..", "..", name), filepath.Join(l.dir, name)); err != nil {
			return fmt.Errorf("%w: %w", record.ErrRunDir, err)
		}
	}
	if err := m.Write(l.dir); err != nil {
		return fmt.Errorf("%w: %w", record.ErrRunDir, err)
	}
	return nil
}

// settle writes into the manifest what was planned, when the generator has ended: what is planned before the end, and what it sent all the
// same because it learned of the end too late.
func (l *running) settle() error {
	m := &l.manifest
	sent, err := lastSent(filepath.Join(l.dir, record.ClientFile), len(m.Planned))
	if err != nil {
		return err
	}
	wanted := l.length // One dispatcher may have gone on for longer than another.
	for i, one := range m.Scenario.Loads {
		rate := one.Rate.PerSecond[0]
		m.Planned[i] = max(0, int(math.Ceil(rate*wanted.Seconds()-0.5)))
		if sent[i] > m.Planned[i] {
			m.Planned[i] = sent[i]
			l.length = max(l.length, time.Duration(float64(sent[i])/rate*1e9)) // Half an interval after the last.
		}
	}
	m.Scenario.Phases[0].For = l.length
	return m.Write(l.dir)
}

// lastSent are the numbers of requests of each load, from the highest that a client record has.
func lastSent(path string, loads int) ([]int, error) {
	all := make([]int, loads)
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	for lines := bufio.NewReader(file); ; {
		line, err := lines.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return all, err
		}
		_, rest, found := bytes.Cut(line, []byte(`"id":"`))
		id, _, ended := bytes.Cut(rest, []byte(`"`))
		if parts := bytes.Split(id, []byte(".")); found && ended && len(parts) == 4 {
			load, _ := strconv.Atoi(string(parts[2]))
			n, _ := strconv.Atoi(string(parts[3]))
			if load < loads {
				all[load] = max(all[load], n+1)
			}
		}
	}
}

// newest is how much of the client's records is read for the lateness, in bytes: some 200 requests.
const newest = 64 << 10

// lateness is the 99th percentile of how late the generator sent the newest requests, or stalled during them, in microseconds.
func lateness(path string) int64 {
	file, err := os.Open(path)
	if err != nil {
		return 0
	}
	defer file.Close()
	if info, err := file.Stat(); err == nil && info.Size() > newest {
		_, _ = file.Seek(-newest, io.SeekEnd)
	}
	var all []int64
	for lines := bufio.NewScanner(file); lines.Scan(); {
		var r struct {
			Late    int64 `json:"late_us"`
			Stalled int64 `json:"stalled_us"`
		}
		if json.Unmarshal(lines.Bytes(), &r) == nil { // The first may be a part of one.
			all = append(all, max(r.Late, r.Stalled))
		}
	}
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return all[(len(all)*99-1)/100]
}
