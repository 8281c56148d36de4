package main

import (
	"encoding/json"
	"fmt"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Config returns the image configuration of a service's stage of a Dockerfile: the one of its name, else the last. It supports the
// instructions that ours has; any other is an error, so that the released image cannot silently lack one. Config checks COPY; Image copies
// the files.
func Config(dockerfile, service string) (v1.Config, error) {
	c := v1.Config{ExposedPorts: map[string]struct{}{}, WorkingDir: "/", Env: []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}}
	empty, stage, final := c, "", false
	for line := range strings.Lines(strings.ReplaceAll(dockerfile, "\\\n", " ")) {
		line = strings.TrimSpace(line)
		word, rest, _ := strings.Cut(line, " ")
		rest = strings.TrimSpace(rest)
		if word == "FROM" {
			if stage == named(service) {
				break
			}
			c, stage, final = empty, rest, rest == "scratch" || rest == named(service)
			c.ExposedPorts = map[string]struct{}{}
			continue
		}
		if !final || line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		switch word {
		case "COPY":
			if rest != "--from=build "+authorities+" /etc/ssl/certs/" && rest != "--from=build /"+service+" /"+service {
				return c, fmt.Errorf("%s: release supports COPY only for the program and the certificates", line)
			}
		case "USER":
			c.User = rest
		case "ENV":
			c.Env = append(c.Env, strings.Fields(rest)...)
		case "EXPOSE":
			for port := range strings.FieldsSeq(rest) {
				c.ExposedPorts[port+"/tcp"] = struct{}{}
			}
		case "STOPSIGNAL":
			c.StopSignal = rest
		case "ENTRYPOINT":
			if err := json.Unmarshal([]byte(rest), &c.Entrypoint); err != nil {
				return c, fmt.Errorf("%s: %w", line, err)
			}
		default:
			return c, fmt.Errorf("%s: release does not support this instruction; add it to release/dockerfile.go", line)
		}
	}
	if !final || c.User == "" || len(c.Entrypoint) == 0 {
		return c, fmt.Errorf("last stage is FROM %s, with USER %q and ENTRYPOINT %q: want FROM scratch, and both set", stage, c.User, c.Entrypoint)
	}
	return c, nil
}

// named is how the stage of a service begins that is not the last.
func named(service string) string { return "scratch AS " + service }
