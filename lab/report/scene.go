package report

import (
	"fmt"
	"time"

	"trivet/lab/experiment"
	"trivet/lab/ledger"
	"trivet/lab/load"
)

// differences are where a run folder's scene is not what the experiment's copy says: then the records are judged by a plan that was not
// carried out.
func differences(s ledger.Scene, seed uint64, like experiment.Variant) []string {
	var all []string
	differ := func(what string, scene, file any) {
		if scene != file {
			all = append(all, fmt.Sprintf("%s is not of the experiment in the run folder: %s %v there, %v in the experiment", ledger.SceneFile, what, scene, file))
		}
	}
	differ("seed", s.Seed, seed)
	differ("workers", s.Workers, like.Workers)
	differ("instances", len(s.Instances), like.Instances)
	for i, instance := range s.Instances {
		differ(fmt.Sprintf("instance %d", i+1), instance.Name, fmt.Sprintf("whoami-%d", i+1))
	}
	differ("phases", len(s.Phases), len(like.Phases))
	var length time.Duration
	for i, p := range like.Phases {
		length += p.For
		if i < len(s.Phases) {
			differ(fmt.Sprintf("phase %d", i+1), fmt.Sprint(s.Phases[i].Name, ", ", s.Phases[i].For), fmt.Sprint(p.Name, ", ", p.For))
		}
	}
	differ("loads", len(s.Loads), len(like.Loads))
	for i, l := range like.Loads {
		if i < len(s.Loads) {
			planned := load.Stream{Rate: l.Rate.Points(length)}.Count(length)
			differ(fmt.Sprintf("load %d", i+1), words(s.Loads[i].Name, s.Loads[i].Protocol, s.Loads[i].Planned), words(l.Name, l.Protocol, planned))
			if s.Loads[i].Deadline != 0 {
				differ(fmt.Sprintf("load %d, deadline", i+1), s.Loads[i].Deadline, l.Deadline)
			}
		}
	}
	return all
}

func words(name, protocol string, planned int) string {
	return fmt.Sprintf("%s, %s, %d planned", name, protocol, planned)
}
