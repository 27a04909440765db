"""What libraries compute again and again, computed once: a quarter of the time of Beam's tests.

Nothing here changes what a test sees: the same question gets the same answer.
"""

import copy
import functools
import sys
import typing


def type_hints() -> None:
    """tf-models-official asks for those of a class a thousand times for each experiment."""
    asked = typing.get_type_hints

    @functools.cache
    def of_class(cls: type, include_extras: bool) -> dict:
        return asked(cls, include_extras=include_extras)

    def hints(obj, globalns=None, localns=None, include_extras=False):
        if isinstance(obj, type) and globalns is None and localns is None:
            return dict(of_class(obj, include_extras))
        return asked(obj, globalns, localns, include_extras)

    typing.get_type_hints = hints


@functools.cache
def beam() -> None:
    """Beam asks for a function's arguments and parses its flags hundreds of times a pipeline."""
    from apache_beam.options.pipeline_options import PipelineOptions
    from apache_beam.transforms import core

    asked, parsed = core.get_function_args_defaults, PipelineOptions.__init__

    @functools.cache
    def of_function(function, bound: bool):
        names, defaults = asked(function)
        return names[bound:], defaults

    def arguments(function):
        inner = getattr(function, "__func__", None)
        if inner is None:
            return asked(function)
        return tuple(map(list, of_function(inner, True)))

    namespaces: dict = {}

    def begin(self, flags=None, **kwargs):
        key = (type(self), tuple(sys.argv if flags is None else flags))
        if key not in namespaces:
            parsed(self, flags)
            namespaces[key] = copy.deepcopy(self._visible_options)
        self._flags, self._all_options = flags, kwargs
        self._visible_options = copy.deepcopy(namespaces[key])
        for name in self._visible_option_list():
            kwargs.setdefault(name, getattr(self._visible_options, name))

    core.get_function_args_defaults = arguments
    PipelineOptions.__init__ = begin
