from slugify import slugify

from words import STOPWORDS


def run(ctx, input):
    """The title in lower-case ASCII with dashes, without words that say little."""
    title = input["body"]["title"]
    slug = slugify(title, max_length=60, word_boundary=True, stopwords=STOPWORDS)
    ctx.log.info(f"{title!r} becomes {slug!r}")
    return {"slug": slug}
