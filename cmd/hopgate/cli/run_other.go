//go:build !linux && !windows

package cli

import "errors"

// runKernel has no kernel to put a policy in force in.
func (c *console) runKernel(*kernelOptions, bindings) error {
	return errors.New("this build of hopgate has no hook for this host; --hook inprocess answers requests in this process")
}
