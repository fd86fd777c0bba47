package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/carelog/carelog/projections"
)

func newCompletionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "completion <bash | zsh>",
		Short: "Print the script by which a shell completes commands",
		Long: `Print the script by which a shell completes the commands, flags and arguments of
carelog. For the running shell:

  source <(carelog completion bash)     # bash, with the package bash-completion
  source <(carelog completion zsh)      # zsh, after compinit

and for every new one:

  carelog completion bash > /etc/bash_completion.d/carelog
  carelog completion zsh > "${fpath[1]}/_carelog"

Exit status: 0 done, 1 an error, 2 a mistake in the command line.`,
		Args: checked(func(_ *cobra.Command, args []string) error {
			if len(args) != 1 || args[0] != "bash" && args[0] != "zsh" {
				return errors.New("name one shell, bash or zsh")
			}
			return nil
		}),
		ValidArgsFunction: cobra.FixedCompletions([]string{"bash", "zsh"}, cobra.ShellCompDirectiveNoFileComp),
		RunE: func(cmd *cobra.Command, args []string) error {
			if args[0] == "zsh" {
				return cmd.Root().GenZshCompletion(cmd.OutOrStdout())
			}
			return cmd.Root().GenBashCompletionV2(cmd.OutOrStdout(), true)
		},
	}
}

// completeSettings adds to a command, and to all below it, what the flags of
// settings take.
func completeSettings(cmd *cobra.Command) {
	for flag, values := range map[string][]string{"log-level": {"debug", "info", "warn", "error"}, "log-format": {"text", "json"}} {
		if cmd.Flags().Lookup(flag) != nil {
			completeFlag(cmd, flag, values...)
		}
	}
	for _, flag := range []string{"data-dir", "pg-bin"} {
		if cmd.Flags().Lookup(flag) != nil {
			mustRegister(cmd.MarkFlagDirname(flag))
		}
	}
	for _, below := range cmd.Commands() {
		completeSettings(below)
	}
}

// completeFlag says what a flag takes; without values that no file name is it.
func completeFlag(cmd *cobra.Command, flag string, values ...string) {
	mustRegister(cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)))
}

// mustRegister is for what only fails when a flag's name is misspelt here.
func mustRegister(err error) {
	if err != nil {
		panic(err)
	}
}

// completeKind completes the kind of record, which comes first.
func completeKind(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return recordKinds, cobra.ShellCompDirectiveNoFileComp
}

// completeProjection completes names of projections.
func completeProjection(*cobra.Command, []string, string) (names []string, _ cobra.ShellCompDirective) {
	for _, p := range projections.All() {
		names = append(names, p.Name())
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
