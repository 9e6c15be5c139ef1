package main

import "golang.org/x/sys/windows"

// Libraries are not looked for in the current folder, which others may write to. Wine 8 does so all the same.
func init() { _ = windows.SetDllDirectory("") }
