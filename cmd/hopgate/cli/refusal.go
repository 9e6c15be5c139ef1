//go:build linux || windows

package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cilium/ebpf"

	"github.com/hopgate/hopgate/codegen"
)

// refusesCode reports whether an error says that a policy does not load in form code, while
// as a table it may.
func refusesCode(err error) bool {
	verifier := new(ebpf.VerifierError)
	return errors.Is(err, codegen.ErrTooLarge) || errors.As(err, &verifier)
}

// explainRefusal prints the verifier's log if that was asked for; else the error it gives
// says how to.
func (c *console) explainRefusal(o *kernelOptions, err error) error {
	verifier := new(ebpf.VerifierError)
	if errors.As(err, &verifier) && len(verifier.Log) > 0 {
		if o.verifierLog {
			fmt.Fprintln(c.err, strings.Join(verifier.Log, "\n"))
		} else {
			err = fmt.Errorf("%w (--verifier-log prints all that it says)", err)
		}
	}
	return err
}
