package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/lang"
)

// judge loads policies with the tests beside them and hands on those that are right;
// wrong says that some are not, which has been reported.
func (c *console) judge(paths []string, bind bindings, opts compiler.Options, each func(path string, policy *compiler.Policy)) (wrong bool, err error) {
	paths, err = policiesOf(paths)
	if err != nil {
		return false, err
	}
	opts.Bind = bind
	var policies []*compiler.Policy
	for _, path := range paths {
		policy, err := loadWithTests(path, &opts)
		if claimed(err) {
			return false, misuse{err}
		}
		if err != nil {
			c.report(err)
			wrong = true
			continue
		}
		policies = append(policies, policy)
		c.noteEnforced(path, policy)
		each(path, policy)
	}
	if wrong {
		return true, nil // a policy that is wrong may have the interfaces
	}
	return false, bind.check(policies...)
}

// claimed reports whether all that is wrong stands in --never or --always.
func claimed(err error) bool {
	var findings lang.Diagnostics
	if !errors.As(err, &findings) {
		return false
	}
	return !slices.ContainsFunc(findings, func(d lang.Diagnostic) bool {
		return d.Severity == lang.Error && (d.Source == nil || !strings.HasPrefix(d.Source.Name, "--"))
	})
}

// noteEnforced says that a policy with audit rules, or in audit mode, is judged as
// if it were enforced.
func (c *console) noteEnforced(path string, policy *compiler.Policy) {
	audit := policy.AuditMode
	for i := range policy.Rules {
		audit = audit || policy.Rules[i].Audit
	}
	if audit {
		fmt.Fprintf(c.err, "%s: note: what is audited is judged as if enforced\n", path)
	}
}
