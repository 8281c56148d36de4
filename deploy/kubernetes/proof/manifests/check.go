package manifests

import (
	"errors"
	"fmt"
)

// checks are all but decoding. Each returns what is wrong in its part.
var checks = []func(*stack) []error{
	checkKinds, checkNamespace, checkData, checkVolumes, checkSelectors, checkTargets, checkUpstreams, checkPorts, checkRoutes, checkSecurity, checkResources,
	checkImages, checkProbes, checkShutdown, checkRollouts, checkConfigMaps, checkSettings, checkFiles, checkCertificates, checkNetwork,
}

// Check reports everything that is wrong with the objects of an overlay.
func Check(tree Tree, overlay string, objects []Object) error {
	decoded, errs := decode(objects)
	s := &stack{tree, overlay, decoded}
	for _, check := range checks {
		errs = append(errs, check(s)...)
	}
	return errors.Join(errs...)
}

// problems collects errors.
type problems []error

func (p *problems) add(format string, args ...any) { *p = append(*p, fmt.Errorf(format, args...)) }
