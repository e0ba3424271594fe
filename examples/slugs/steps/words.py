STOPWORDS = ["a", "an", "and", "of", "the", "to"]
