"""The template that puts this page's content into the blocks of the application's layout.

It is generated because Jinja takes no expression as the name of a block.
"""

from __future__ import annotations

from jinja2 import BaseLoader, DictLoader

from .options import Options

_TITLE = "{%% block %s %%}{%% block devices_title %%}{%% endblock %%}{%% endblock %%}"
_CONTENT = """\
{%% block %s %%}
{%% block devices_style %%}
<link rel="stylesheet" href="{{ url_for('.static', filename='devices.css') }}">
{%% endblock %%}
<div class="frs">
{%% block devices_content %%}{%% endblock %%}
</div>
{%% endblock %%}
"""


def layout_name(options: Options) -> str:
    """Return the name of the layout for these options.

    :param options: the options of the blueprint.
    """
    blocks = filter(None, (options.title_block, options.content_block))
    return f"flask_redis_session/layout/{'+'.join(blocks)}.html"


def layout_loader(options: Options) -> BaseLoader:
    """Return the loader that finds the layout for these options.

    :param options: the options of the blueprint.
    """
    title = _TITLE % options.title_block if options.title_block else ""
    content = _CONTENT % options.content_block
    source = "{% extends devices.base_template %}" + title + content
    return DictLoader({layout_name(options): source})
