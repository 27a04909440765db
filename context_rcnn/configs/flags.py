"""The flags with which programs other than `model_main_tf2` take the settings of an experiment."""

import argparse


def add_experiment_flags(parser: argparse.ArgumentParser) -> None:
    """Adds --experiment, --config_file and --params_override."""
    parser.add_argument("--experiment", default="", help="name of an experiment")
    parser.add_argument(
        "--config_file",
        action="append",
        default=[],
        metavar="FILE",
        help="YAML file with settings; may be repeated",
    )
    parser.add_argument(
        "--params_override", default="", metavar="A.B=1", help="settings, as a.b=1,a.c=2"
    )


def experiment_of(args: argparse.Namespace, parser: argparse.ArgumentParser):
    """The settings that the flags name; ends the program with an error where they make no sense."""
    from context_rcnn.configs import schema

    try:
        return schema.load_experiment(args.experiment, args.config_file, args.params_override)
    except ValueError as error:
        parser.error(str(error))
