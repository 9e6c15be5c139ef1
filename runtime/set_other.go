//go:build !linux && !windows

package runtime

import (
	"fmt"

	"github.com/hopgate/hopgate/compiler"
)

// ChangePinnedSet changes a dynamic set of a program that is pinned on a Linux host.
func ChangePinnedSet(string, string, compiler.SetChange, []string) error {
	return fmt.Errorf("%w: pinned sets are changed on Linux hosts", ErrKernel)
}
