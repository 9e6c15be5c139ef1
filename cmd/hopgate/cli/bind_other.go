//go:build !windows

package cli

// bindToHost leaves it to the runtime to find the interfaces of a policy.
func bindToHost(string, bindings) error { return nil }
