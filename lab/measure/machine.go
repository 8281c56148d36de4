package measure

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"trivet/lab/record"
	"trivet/lab/scenario"
)

// When the machine was too busy for a measurement. Beside two busy loops on two CPUs, other programs had 1.0 CPUs and nginx's workers and
// the instances waited for 20 to 30 % of the time; on an idle machine 0.0 CPUs and 10 %, for which the load itself is the reason. So
// neither says enough alone.
const (
	// starvedCPUs is how many CPUs other programs use at least in a starved window. A shell, a log daemon or the sampler itself use less.
	starvedCPUs = 0.3
	// starvedWait is the part of a starved window for which nginx, an instance or the generator waited for a CPU, at least. Of a window that
	// is longer than usual it is the part of the usual one: so in a window that is not starved a request waited for at most 10 ms.
	starvedWait = 0.1
	// usualWindow is how long a window is on a machine that is not busy.
	usualWindow = 100 * time.Millisecond
	// lag is how much earlier than in its window a process may have waited: the kernel counts a wait when it is over. It is the sampler's longest
	// window.
	lag = 500 * time.Millisecond
	// starvedPart is the part of a phase that may be starved. Below it the adjusted reading has what the starved windows could have changed;
	// above it most requests are in doubt, and both readings say little.
	starvedPart = 0.5
	// missingSample is the longest time without a sample: what the processes did then is not known.
	missingSample = time.Second
	// seam is by how much a window may begin beside the end of the one before it: both are cut to microseconds.
	seam = 2 * time.Microsecond
)

// A machine is what the samples say: which CPUs the processes had, and when other programs kept the system from running.
type machine struct {
	manifest record.Manifest
	until    time.Duration // the end of the last sample, since the start of the trial
	sampled  bool          // there was one
	starved  []span        // in order, none touching the next
	usage    []usage       // by phase; the last is of the whole trial
	stops    []stop        // in order of their starts
	gap      span          // the first that is too long
	end      time.Duration // of the last sample, which may be before the load began
	seams    []span        // from the end of a window to the beginning of the next, where they are not the same
	last     time.Duration // when the last request ended
}

// usage is what was used of the machine in a phase.
type usage struct {
	sampled, starved        time.Duration
	outside, outsideStarved float64 // CPUs × seconds of other programs
	processes               map[string]*processUsage
}

type processUsage struct{ run, delay, delayStarved, stopped time.Duration }

// A stop is a time for which a process was stopped.
type stop struct {
	process string
	span
	seen []time.Duration // when it was: the ends of its windows
}

// beside reports whether the process was stopped at a time at which no action had paused it. A sample reads the states of processes after
// the time that it has, so one may show a pause that begins a little later.
func (s stop) beside(paused []span) bool {
	return slices.ContainsFunc(s.seen, func(at time.Duration) bool {
		return !slices.ContainsFunc(paused, func(p span) bool { return p.from-lag <= at && at <= p.to })
	})
}

// A Process is what a process used of the machine in a phase.
type Process struct {
	Name    string        `json:"name"`
	Run     time.Duration `json:"run"`     // on a CPU, all threads together
	Delay   time.Duration `json:"delay"`   // it could have run, and had no CPU
	Stopped time.Duration `json:"stopped"` // by SIGSTOP
}

func newMachine(m record.Manifest) *machine {
	return &machine{manifest: m, usage: make([]usage, len(m.Scenario.Phases)+1)}
}

// delays reports whether a process is one whose waiting delays requests.
func delays(process string) bool { return process != scenario.Lab }

// ofSystem reports whether a process is nginx's or an instance.
func ofSystem(process string) bool { return delays(process) && process != scenario.Generator }

// ofNginx reports whether a process is nginx's master or one of its workers.
func ofNginx(process string) bool {
	_, worker := scenario.WorkerNumber(process)
	return worker || process == scenario.Nginx
}

// Waited is for how long in a window the process waited for a CPU whose waiting delays requests and that waited the longest, and whether
// the window is starved: other programs were the reason.
func Waited(s record.Sample) (waited time.Duration, starved bool) {
	for _, p := range s.Processes {
		if delays(p.Process) {
			waited = max(waited, time.Duration(p.Delay)*time.Microsecond)
		}
	}
	window := time.Duration(s.Window) * time.Microsecond
	return waited, s.Outside >= starvedCPUs && waited >= time.Duration(starvedWait*float64(min(window, usualWindow)))
}

// add adds the next sample.
func (m *machine) add(s record.Sample) {
	to := s.Time.Sub(m.manifest.Begin)
	window := span{to - time.Duration(s.Window)*time.Microsecond, to}
	m.checkGap(window)
	m.until, m.sampled = max(m.until, to), true
	length := window.to - window.from
	waited, starved := Waited(s)
	if starved { // What waited then may have begun to before, and is worked off a little later.
		m.starve(span{min(window.from, to-min(waited, lag)), to + usualWindow})
	}
	for i := range m.usage {
		from, to := m.bounds(i)
		part := min(to, window.to) - max(from, window.from)
		if part > 0 {
			m.usage[i].add(s, part, part.Seconds()/length.Seconds(), starved)
		}
	}
	for _, p := range s.Processes {
		if p.Stopped {
			m.stopped(p.Process, window)
		}
	}
}

// starve adds a time that begins after all others, or overlaps them.
func (m *machine) starve(s span) {
	for n := len(m.starved) - 1; n >= 0 && m.starved[n].to >= s.from; n-- {
		s = span{min(s.from, m.starved[n].from), max(s.to, m.starved[n].to)}
		m.starved = m.starved[:n]
	}
	m.starved = append(m.starved, s)
}

func (m *machine) checkGap(window span) {
	from := m.until
	if !m.sampled {
		from = 0
	}
	if m.sampled && (window.from-m.end).Abs() > seam {
		m.seams = append(m.seams, span{m.end, window.from})
	}
	m.end = window.to
	if m.gap.to == m.gap.from && window.to-from > missingSample {
		m.gap = span{from, window.to}
	}
}

// bounds are those of a phase, or of the whole trial.
func (m *machine) bounds(phase int) (from, to time.Duration) {
	if phase == len(m.manifest.Scenario.Phases) {
		return 0, m.manifest.Scenario.Length()
	}
	return m.manifest.Scenario.Bounds(phase)
}

func (u *usage) add(s record.Sample, length time.Duration, part float64, starved bool) {
	u.sampled += length
	u.outside += s.Outside * length.Seconds()
	if starved {
		u.starved += length
		u.outsideStarved += s.Outside * length.Seconds()
	}
	if u.processes == nil {
		u.processes = make(map[string]*processUsage)
	}
	for _, p := range s.Processes {
		of := u.processes[p.Process]
		if of == nil {
			of = &processUsage{}
			u.processes[p.Process] = of
		}
		delay := time.Duration(part * float64(p.Delay) * float64(time.Microsecond))
		of.run += time.Duration(part * float64(p.Run) * float64(time.Microsecond))
		of.delay += delay
		if starved {
			of.delayStarved += delay
		}
		if p.Stopped {
			of.stopped += length
		}
	}
}

// stopped adds that a process was stopped when a window ended.
func (m *machine) stopped(process string, window span) {
	for i := len(m.stops) - 1; i >= 0; i-- {
		if m.stops[i].process == process {
			if m.stops[i].to >= window.from {
				m.stops[i].to = window.to
				m.stops[i].seen = append(m.stops[i].seen, window.to)
				return
			}
			break
		}
	}
	m.stops = append(m.stops, stop{process, window, []time.Duration{window.to}})
}

// overlap is for how long other programs kept the system from running within a time.
func (m *machine) overlap(of span) (sum time.Duration) {
	for i := len(m.starved) - 1; i >= 0 && m.starved[i].to > of.from; i-- {
		sum += max(0, min(of.to, m.starved[i].to)-max(of.from, m.starved[i].from))
	}
	return sum
}

// waited is the process that waited the most, of some, and for how long.
func (u *usage) waited(of func(process string) bool, delay func(*processUsage) time.Duration) (name string, longest time.Duration) {
	for _, process := range slices.SortedFunc(maps.Keys(u.processes), scenario.CompareNames) {
		if d := delay(u.processes[process]); of(process) && (name == "" || d > longest) {
			name, longest = process, d
		}
	}
	return name, longest
}

// metrics puts what is the same for all groups of a phase into their metrics.
func (u *usage) metrics(m *Metrics) {
	if u.sampled == 0 {
		return
	}
	outside := u.outside / u.sampled.Seconds()
	_, longest := u.waited(ofSystem, func(p *processUsage) time.Duration { return p.delay })
	delay := min(1, longest.Seconds()/u.sampled.Seconds())
	m.OtherCPUs, m.RunDelay = &outside, &delay
	m.NginxCPUs = new(u.run(func(process string) bool { return ofSystem(process) && ofNginx(process) }))
	m.InstanceCPUs = new(u.run(func(process string) bool { return ofSystem(process) && !ofNginx(process) }))
}

// run is how many CPUs some processes used on average.
func (u *usage) run(of func(process string) bool) float64 {
	var sum time.Duration
	for process, p := range u.processes {
		if of(process) {
			sum += p.run
		}
	}
	return sum.Seconds() / u.sampled.Seconds()
}

// list are the processes of a phase, by name.
func (u *usage) list() []Process {
	all := []Process{}
	for _, name := range slices.SortedFunc(maps.Keys(u.processes), scenario.CompareNames) {
		p := u.processes[name]
		all = append(all, Process{name, p.run, p.delay, p.stopped})
	}
	return all
}

// reasons are why the machine makes the trial invalid. paused are the times for which actions paused a process.
func (m *machine) reasons(paused func(process string) []span) (all []string) {
	if !m.manifest.Sampled {
		return nil
	}
	switch {
	case !m.sampled:
		return []string{fmt.Sprintf("%s has no sample: whether other programs kept the system from running is not known; run again", record.SamplesFile)}
	case m.gap.to > m.gap.from:
		all = append(all, fmt.Sprintf("%s has no sample for %v, from %s: the machine was too busy for the sampler; stop other programs and run again", record.SamplesFile, round(m.gap.to-m.gap.from), when(m.gap.from)))
	case len(m.seams) > 0:
		all = append(all, fmt.Sprintf("%s has a sample too few or too many %s: each begins where the one before it ended; run again", record.SamplesFile, when(m.seams[0].from)))
	case m.last-m.until > usualWindow: // The last is written when the generator has ended.
		all = append(all, fmt.Sprintf("%s ends %s, and the last request %v later: what the processes did then is not known; run again", record.SamplesFile, when(m.until), round(m.last-m.until)))
	}
	for i, phase := range m.manifest.Scenario.Phases {
		u := &m.usage[i]
		if u.starved.Seconds() <= starvedPart*phase.For.Seconds() {
			continue
		}
		name, waited := u.waited(delays, func(p *processUsage) time.Duration { return p.delayStarved })
		seconds := u.starved.Seconds()
		all = append(all, fmt.Sprintf("phase %s: for %.0f %% of the time other programs used %.1f of %d CPUs, and %s waited for a CPU %.0f %% of that; stop them and run again",
			phase.Name, min(100, 100*seconds/phase.For.Seconds()), u.outsideStarved/seconds, m.manifest.CPUs, name, min(100, 100*waited.Seconds()/seconds)))
	}
	for _, s := range m.stops {
		if s.beside(paused(s.process)) {
			all = append(all, fmt.Sprintf("%s was stopped (SIGSTOP) %s, for about %v, and no action had paused it; let nothing else control the processes of a run", s.process, when(s.from), round(s.to-s.from)))
		}
	}
	return all
}

func round(d time.Duration) time.Duration { return d.Round(time.Millisecond) }
