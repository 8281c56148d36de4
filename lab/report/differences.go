package report

import (
	"fmt"
	"reflect"
	"strings"

	"trivet/lab/record"
	"trivet/lab/scenario"
)

// differences are where a trial's manifest does not match the run's index, of which these are the scenario, the trial's number and the
// versions: its records are not of that scenario then, of another trial, or of other programs.
func differences(m record.Manifest, want scenario.Scenario, trial int, nginx, trivet string) []string {
	type setup struct {
		Nginx     string            `json:"nginx"`
		Trivet    string            `json:"trivet"`
		Trial     int               `json:"trial"`
		Scenario  scenario.Scenario `json:"scenario"`
		Planned   []int             `json:"planned"`
		Instances []string          `json:"instances"`
		Target    string            `json:"target"` // its kind
	}
	has, should := setup{m.Nginx, m.Trivet, m.Trial, m.Scenario, m.Planned, nil, ""}, setup{nginx, trivet, trial, want, nil, want.ServiceNames(), want.Target}
	for _, instance := range m.Instances {
		has.Instances = append(has.Instances, instance.Name)
	}
	if m.Target != nil {
		has.Target = m.Target.Kind
	}
	if want.OwnNames {
		should.Instances = has.Instances // The target's, which may change from one trial to the next.
	}
	for _, l := range want.Loads {
		should.Planned = append(should.Planned, l.Rate.Count(want.Length()))
	}
	return differ("", reflect.ValueOf(has), reflect.ValueOf(should))
}

// differ compares two values of one type, down to the fields that differ, which it names as JSON does.
func differ(path string, manifest, index reflect.Value) (all []string) {
	switch kind := manifest.Kind(); {
	case kind == reflect.Struct:
		for i := range manifest.NumField() {
			name, _, _ := strings.Cut(manifest.Type().Field(i).Tag.Get("json"), ",")
			all = append(all, differ(strings.TrimPrefix(path+"."+name, "."), manifest.Field(i), index.Field(i))...)
		}
		return all
	case kind == reflect.Slice && manifest.Len() == index.Len():
		for i := range manifest.Len() {
			all = append(all, differ(fmt.Sprintf("%s[%d]", path, i), manifest.Index(i), index.Index(i))...)
		}
		return all
	case kind == reflect.Slice:
		path, manifest, index = "the length of "+path, reflect.ValueOf(manifest.Len()), reflect.ValueOf(index.Len())
	case kind == reflect.Pointer && !manifest.IsNil() && !index.IsNil():
		return differ(path, manifest.Elem(), index.Elem())
	}
	if reflect.DeepEqual(manifest.Interface(), index.Interface()) {
		return nil
	}
	return []string{fmt.Sprintf("%s does not match %s: %s is %v, not %v", record.ManifestFile, record.IndexFile, path, manifest, index)}
}
